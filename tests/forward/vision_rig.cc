// Runs vision_goldens.py and binds its tensors; see vision_rig.h.
#include "tests/forward/vision_rig.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "lib/model/binder.h"

namespace v4i::test {

namespace fs = std::filesystem;

namespace {

std::vector<float> read_floats(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<GoldenImage> read_images(const std::string& folder) {
  std::map<int, GoldenImage> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    int number = 0;
    long h = 0, w = 0;
    const std::string name = entry.path().filename().string();
    if (std::sscanf(name.c_str(), "%d.%ldx%ld.patches.f32", &number, &h, &w) != 3) continue;
    found[number] = {{h, w},
                     read_floats(entry.path().string()),
                     read_floats(fmt::format("{}/{}.exact.f32", folder, number)),
                     read_floats(fmt::format("{}/{}.native.f32", folder, number))};
  }
  std::vector<GoldenImage> out;
  for (auto& [number, image] : found) out.push_back(std::move(image));
  return out;
}

}  // namespace

VisionRig::VisionRig(int seed) {
  const std::string script = source_dir() + "/tests/oracle/vision_goldens.py";
  const std::string command =
      fmt::format("'{}' '{}' {} '{}'", python(), script, seed, folder.path());
  if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot run " + command);
  config = model::parse_config(read_file(folder.file("config.json")), folder.file("config.json"));
  images = read_images(folder.path());
  open();
}

VisionRig::VisionRig(const VisionRig& other, const std::function<void(StFile&)>& change)
    : config(other.config), images(other.images) {
  StFile tower = read_safetensors(other.folder.file("tower.safetensors"));
  change(tower);
  write_safetensors(folder.file("tower.safetensors"), tower);
  open();
}

void VisionRig::open() {
  const std::string host = make_tiny(0);
  fs::copy_file(host + "/config.json", folder.file("config.json"),
                fs::copy_options::overwrite_existing);
  fs::copy_file(host + "/model.safetensors", folder.file("text.safetensors"));
  model = model::Model::open(folder.path());
  model::Binder binder(model->checkpoint(), config.fp8_block);
  weights = model::bind_vision(binder, config);
}

const VisionRig& VisionRig::of(int seed) {
  static std::map<int, std::unique_ptr<VisionRig>> rigs;
  std::unique_ptr<VisionRig>& rig = rigs[seed];
  if (rig == nullptr) rig = std::make_unique<VisionRig>(seed);
  return *rig;
}

std::vector<float> VisionRig::encode(const GoldenImage& image, bool native, int threads,
                                     const char* kernels) const {
  Budget budget;
  ThreadPool pool(threads);
  std::vector<float> out(image.exact.size());
  encode_image(tower(*kernels::select_kernels(kernels), pool, budget, native), image.grid,
               image.patches.data(), out.data(), nullptr);
  return out;
}

}  // namespace v4i::test
