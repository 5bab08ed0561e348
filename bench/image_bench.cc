// Seconds that the image tower of a model takes, by size of the image, and of them one block: the
// difference to a tower that has one less.  A slice of V4.1 at true width has few of the model's 32
// (engram/make_slice.py --tower 2).
#include <chrono>
#include <cstdio>
#include <random>

#include "CLI/CLI.hpp"
#include "lib/base/error.h"
#include "lib/forward/cpu/vision.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

double seconds(const forward::cpu::ImageTower& tower, const forward::cpu::PatchGrid& grid) {
  const model::VisionConfig& c = tower.config;
  std::vector<float> patches(static_cast<std::size_t>(grid.patches() * 3 * c.patch * c.patch));
  std::mt19937 random(1);
  for (float& x : patches) x = static_cast<float>(random() % 256) / 127.5f - 1.0f;
  std::vector<float> out(
      static_cast<std::size_t>(forward::cpu::cells_of(c, grid) * tower.weights.align2.w.rows));
  const auto start = Clock::now();
  encode_image(tower, grid, patches.data(), out.data(), nullptr);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Args {
  std::string model;
  int threads = 1;
  std::int64_t most = 9000;  // patches
};

int run(const Args& a) {
  const auto model = model::Model::open(a.model);
  const model::VisionWeights& w = model->weights().vision;
  if (w.layers.size() < 2)
    fail(Code::kUnsupported, "{}: no image tower of two blocks or more", a.model);
  ThreadPool pool(a.threads);
  Budget budget;
  const auto& kernels = *kernels::select_kernels("");
  const forward::cpu::ImageTower tower{*model, model->config().vision, w, kernels, pool, budget,
                                       true};
  model::VisionWeights fewer = w;
  fewer.layers.pop_back();
  const forward::cpu::ImageTower less{*model, model->config().vision, fewer, kernels, pool, budget,
                                      true};
  std::printf("kernels,threads,width,height,patches,blocks,seconds,seconds_per_block\n");
  const forward::cpu::PatchGrid grids[] = {{23, 23}, {39, 39}, {52, 92}, {69, 122}};
  for (const auto& grid : grids) {
    if (grid.patches() > a.most) break;
    seconds(less, grid);
    const double rest = seconds(less, grid), all = seconds(tower, grid);
    std::printf("%s,%d,%lld,%lld,%lld,%zu,%.3f,%.3f\n", kernels.name, a.threads,
                static_cast<long long>(grid.width * 14), static_cast<long long>(grid.height * 14),
                static_cast<long long>(grid.patches()), w.layers.size(), all, all - rest);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("seconds of the image tower");
  Args a;
  app.add_option("model", a.model, "folder of a model with an image tower")->required();
  app.add_option("--threads", a.threads);
  app.add_option("--most", a.most, "patches of the largest image");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(a);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.text().c_str());
    return 1;
  }
}
