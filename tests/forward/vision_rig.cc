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
  const std::string path = make_tiny_v41(seed);
  const std::string command =
      fmt::format("'{}' '{}/tests/oracle/vision_goldens.py' '{}' '{}' {}", python(), source_dir(),
                  path, folder.path(), seed == 0 ? "--many" : "");
  if (std::system(command.c_str()) != 0) throw std::runtime_error("cannot run " + command);
  images = read_images(folder.path());
  open(path);
}

VisionRig::VisionRig(const VisionRig& other, const std::function<void(StFile&)>& change)
    : images(other.images) {
  copy_model(other.model->path(), folder.path());
  for (const char* name : {"model.safetensors.index.json", "images.safetensors"})
    fs::remove(folder.file(name));  // the index would miss tensors that `change` removes
  const std::string shard = folder.file("model-00001-of-00002.safetensors");
  StFile file = read_safetensors(shard);
  change(file);
  write_safetensors(shard, file);
  open(folder.path());
}

void VisionRig::open(const std::string& path) {
  model = model::Model::open(path);
  model::Binder binder(model->checkpoint(), model->config().fp8_block);
  weights = model::bind_vision(binder, model->config());
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
