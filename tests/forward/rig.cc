// A tiny model opened for forward tests; see rig.h.
#include "tests/forward/rig.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/forward/cpu/backend.h"
#include "lib/forward/cuda/backend.h"
#include "tests/support/tiny_model.h"

namespace v4i::test {

namespace {

std::shared_ptr<forward::Backend> make_backend(const char* kernels, ThreadPool& pool,
                                               Budget& budget) {
  const std::string isa = kernels == nullptr ? "" : kernels;
#ifdef V4I_TEST_CUDA  // the plug-in of the emulated device, or another
  const std::string path = from_environment("V4INFER_TEST_CUDA_LIBRARY", V4I_TEST_CUDA);
  const auto library = forward::cuda::Library::open("cuda:0", path);
  // Never closed: a driver takes long to open a device again that nobody uses.
  [[maybe_unused]] static const auto& kept = *new auto(forward::cuda::Device::open(library, 0));
  return std::make_shared<forward::cuda::CudaBackend>(library, 0, isa, pool, budget);
#else
  return std::make_shared<forward::cpu::CpuBackend>(isa, pool, budget);
#endif
}

// From the mapping.
std::shared_ptr<engram::Tables> engram_tables(const std::shared_ptr<const model::Model>& model,
                                              Budget& budget, int max_tokens) {
  const model::Config& c = model->config();
  if (c.engram.layers.empty()) return nullptr;
  engram::Options o;
  o.max_tokens = max_tokens;
  o.resident = true;
  return std::make_shared<engram::Tables>(
      model, engram::ClassMap::from_file(model->checkpoint().folder(), c), nullptr, budget, o);
}

}  // namespace

Rig::Rig(const std::string& path, forward::Numerics numerics, int threads, int max_tokens,
         const char* kernels)
    : pool(threads),
      model(model::Model::open(path)),
      backend(make_backend(kernels, pool, budget)),
      forward(std::make_unique<forward::Forward>(
          model, *backend, forward::Options{numerics, max_tokens},
          forward::Lookups{nullptr, engram_tables(model, budget, max_tokens)})),
      store(backend->memory()) {}

kv::State Rig::state() {
  return {std::make_shared<kv::Layout>(forward->layout()), store, model->digest()};
}

kv::State Rig::draft_state() {
  return {std::make_shared<kv::Layout>(forward->draft_layout()), store, model->digest()};
}

std::vector<float> Rig::logits(const std::vector<std::int32_t>& ids, int chunk) {
  std::vector<float> out(ids.size() * static_cast<std::size_t>(vocab()));
  kv::State s = state();
  for (std::size_t at = 0; at < ids.size(); at += static_cast<std::size_t>(chunk)) {
    const std::size_t n = std::min(static_cast<std::size_t>(chunk), ids.size() - at);
    const forward::Item item{
        &s, {ids.data() + at, n}, out.data() + at * static_cast<std::size_t>(vocab()), true};
    forward->run({&item, 1}, nullptr);
  }
  return out;
}

std::vector<const char*> kernel_names() {
#ifdef V4I_TEST_CUDA
  return {"scalar"};
#endif
  const kernels::KernelTable* tables[8];
  std::vector<const char*> names;
  const int n = kernels::available_kernels(tables, 8);
  for (int i = 0; i < n; ++i) names.push_back(tables[i]->name);
  return names;
}

std::vector<forward::Numerics> modes(const char* kernels) {
  std::vector<forward::Numerics> all = {forward::Numerics::kExact, forward::Numerics::kNative};
#ifdef V4I_TEST_CUDA
  return all;
#endif
  if (kernels::select_kernels(kernels)->linear_int8 != nullptr)
    all.push_back(forward::Numerics::kFast);
  return all;
}

int seeds(int all) {
  const char* wanted = std::getenv("V4I_TEST_SEEDS");
  return wanted == nullptr ? all : std::clamp(std::atoi(wanted), 1, all);
}

std::vector<std::int32_t> read_ids(const std::string& model_path) {
  return nlohmann::json::parse(read_file(model_path + "/ids.json"));
}

Case::Case(const std::string& model_path, const std::string& name) {
  const auto json = nlohmann::json::parse(read_file(model_path + "/" + name + ".json"));
  ids = json.at("ids").get<std::vector<std::int32_t>>();
  if (!json.contains("images")) return;
  roles = json.at("roles").get<std::vector<int>>();
  for (const auto& i : json.at("images"))
    images.push_back({i.at("start"), i.at("grid_h"), i.at("grid_w")});
}

Golden::Golden(int seed) : Golden(make_tiny(seed), "forward_goldens.py {} {} all") {}

Golden Golden::pro(int seed) { return {make_tiny_pro(seed), "forward_goldens.py {} {} exact"}; }

Golden Golden::dspark(int seed, bool v41) {
  return {v41 ? make_tiny_v41(seed) : make_tiny(seed, 64, true), "dspark_goldens.py {} {}",
          "golden-dspark"};
}

Golden Golden::v41(int seed, bool engram) {
  return {make_tiny_v41(seed, 300, engram), "v41_goldens.py {} {}"};
}

// `command`: a script of tests/oracle and its arguments, with places for model and result.
Golden::Golden(std::string model, const std::string& command, const std::string& folder)
    : model_(std::move(model)), folder_(model_ + "/" + folder) {
  if (file_exists(folder_ + "/done")) return;
  const std::string call =
      fmt::format("'{}' {}/tests/oracle/", python(), source_dir()) +
      fmt::format(fmt::runtime(command), "'" + model_ + "'", "'" + folder_ + "'");
  if (std::system(call.c_str()) != 0) fail(Code::kInternal, "failed: {}", call);
}

std::vector<float> Golden::read(const std::string& name) const {
  const std::string bytes = read_file(folder_ + "/" + name + ".f32");
  std::vector<float> x(bytes.size() / sizeof(float));
  std::memcpy(x.data(), bytes.data(), bytes.size());
  return x;
}

}  // namespace v4i::test
