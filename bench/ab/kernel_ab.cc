// Two builds of the kernels in turns, in one process, on all threads: the median of the ratios of
// neighbours.  A machine whose speed changes by the second hides 5 % from two runs of a benchmark,
// not from this.  bench/ab/ab.sh builds both.
#include <dlfcn.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "bench/codes.h"
#include "kernels/kernels.h"
#include "lib/base/thread_pool.h"

namespace {

using namespace v4i::kernels;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kCodeBytes = std::int64_t{512} << 20;  // more than any cache
constexpr std::int64_t kWidest = 8192, kMostTokens = 512, kMostRows = 32768;

struct Build {
  const KernelTable* table;
  std::int64_t (*scratch_floats)(std::int64_t);
  int block;  // rows and columns of fp8 that share a scale
};

Build load(const std::string& path, const std::string& isa, int block) {
  void* object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr) throw CLI::ValidationError(dlerror());
  const auto table =
      reinterpret_cast<const KernelTable* (*)(const char*)>(dlsym(object, "v4i_ab_table"));
  const auto floats =
      reinterpret_cast<std::int64_t (*)(std::int64_t)>(dlsym(object, "v4i_ab_scratch_floats"));
  if (table == nullptr || floats == nullptr || table(isa.c_str()) == nullptr)
    throw CLI::ValidationError(path + " has no kernels " + isa + " that run here");
  return {table(isa.c_str()), floats, block};
}

// Matrices [rows, cols] that lie one behind the other, `matrices` for each thread; weights come
// from memory.
struct Shape {
  const char* name;
  Format format;
  std::int64_t rows, cols, tokens, matrices;
  bool int8;
  std::int64_t y_stride = rows;
};

// An expert's matrices with the tokens that prompts and batches give it, dense ones, one token.
constexpr Shape kShapes[] = {
    {"expert_6", Format::kFp4, 2048, 4096, 6, 12, false},
    {"expert_12", Format::kFp4, 2048, 4096, 12, 12, false},
    {"expert_18", Format::kFp4, 2048, 4096, 18, 12, false},
    {"expert_24", Format::kFp4, 2048, 4096, 24, 8, false},
    {"expert_down_12", Format::kFp4, 4096, 2048, 12, 12, false},
    {"expert_int8_12", Format::kFp4, 2048, 4096, 12, 12, true},
    {"dense_1024_512", Format::kFp8, 2048, 1024, 512, 1, false, 16384},
    {"dense_8192_512", Format::kFp8, 1024, 8192, 512, 1, false, 4096},
    {"dense_int8_512", Format::kFp8, 1024, 4096, 512, 1, true},
    {"bf16_512", Format::kBF16, 512, 4096, 512, 1, false},
    {"dense_8", Format::kFp8, 2048, 4096, 8, 4, false},
    {"dense_16", Format::kFp8, 2048, 4096, 16, 4, false},
    {"head_8", Format::kBF16, 16384, 4096, 8, 1, false},
    {"one_fp4", Format::kFp4, 16384, 4096, 1, 4, false},
    {"one_fp8", Format::kFp8, 16384, 4096, 1, 2, false},
    {"one_bf16", Format::kBF16, 16384, 4096, 1, 1, false},
    {"one_int8_fp4", Format::kFp4, 16384, 4096, 1, 4, true},
    {"one_int8_fp8", Format::kFp8, 16384, 4096, 1, 2, true},
    // Dense matrices of V4.1-Flash: one token, prompts.
    {"v41_wq_a_1", Format::kFp8, 1280, 5120, 1, 16, false},
    {"v41_wq_b_1", Format::kFp8, 32768, 1280, 1, 4, false},
    {"v41_wo_a_1", Format::kFp8, 8192, 4096, 1, 4, false},
    {"v41_wo_b_1", Format::kFp8, 5120, 8192, 1, 4, false},
    {"v41_shared_1", Format::kFp8, 2304, 5120, 1, 8, false},
    {"v41_down_1", Format::kFp8, 5120, 2304, 1, 8, false},
    {"v41_wq_a_4", Format::kFp8, 1280, 5120, 4, 4, false},
    {"v41_wq_a_256", Format::kFp8, 1280, 5120, 256, 1, false},
    {"v41_wq_b_256", Format::kFp8, 2048, 1280, 256, 1, false, 16384},
    {"v41_wo_a_256", Format::kFp8, 1024, 4096, 256, 1, false, 8192},
    {"v41_wo_b_256", Format::kFp8, 1024, 8192, 256, 1, false, 5120},
    {"v41_shared_256", Format::kFp8, 1152, 5120, 256, 1, false, 2304},
    {"v41_down_256", Format::kFp8, 2048, 2304, 256, 1, false, 5120},
};

class Ab {
 public:
  Ab(const Build& a, const Build& b, int threads) : builds_{a, b}, pool_(threads) {
    std::mt19937 g(1);
    for (float& v : x_) v = static_cast<float>(static_cast<int>(g() % 255) - 127) / 128;
    const std::int64_t most = std::max(a.scratch_floats(kWidest), b.scratch_floats(kWidest));
    scratch_.assign(static_cast<std::size_t>(threads), {});
    y_ = scratch_;
    for (auto& s : scratch_) s.resize(static_cast<std::size_t>(most));
    for (auto& y : y_) y.resize(static_cast<std::size_t>(kMostTokens * kMostRows));
  }

  // Seconds of one turn over all matrices of the shape.
  double turn(const Shape& s, int build) {
    const auto start = Clock::now();
    pool_.run(pool_.size(), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t) matrices(s, builds_[build], t);
    });
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  int threads() const { return pool_.size(); }
  // Not every table has int8 products.
  bool has(const Shape& s) const {
    return !s.int8 || (builds_[0].table->linear_int8 && builds_[1].table->linear_int8);
  }

 private:
  void matrices(const Shape& s, const Build& build, std::int64_t thread) {
    const int block_rows = s.format == Format::kFp8 ? build.block : 1;
    const int block_cols = s.format == Format::kFp8 ? build.block : 32;
    const std::int64_t row = v4i::bench::row_bytes(s.format, s.cols);
    const auto slot = static_cast<std::size_t>(thread);
    for (std::int64_t m = 0; m < s.matrices; ++m) {
      const std::int64_t at =
          (thread * s.matrices + m) * s.rows * row % (kCodeBytes - s.rows * row);
      LinearArgs a{{s.format, s.rows, s.cols, &codes_[static_cast<std::size_t>(at / 64 * 64)],
                    scale_.data(), block_rows, block_cols},
                   0,
                   s.rows,
                   x_.data(),
                   s.cols,
                   nullptr,
                   y_[slot].data(),
                   s.y_stride,
                   s.tokens,
                   true,
                   scratch_[slot].data()};
      a.bf16_x = true;
      (s.int8 ? build.table->linear_int8 : build.table->linear)(a);
    }
  }

  Build builds_[2];
  v4i::ThreadPool pool_;
  std::vector<std::uint8_t> codes_ = v4i::bench::random_codes(kCodeBytes);
  std::vector<std::uint8_t> scale_ = std::vector<std::uint8_t>(kMostRows * (kWidest / 32), 120);
  std::vector<float> x_ = std::vector<float>(kMostTokens * kWidest);
  std::vector<std::vector<float>> scratch_, y_;
};

double middle(std::vector<double> v, std::size_t of_four = 2) {
  std::sort(v.begin(), v.end());
  return v[v.size() * of_four / 4];
}

void compare(Ab& ab, const Shape& s, int repeat) {
  std::vector<double> time[2], ratio;
  for (int i = -1; i < repeat; ++i) {  // the first turn warms up
    double t[2];
    for (int k = 0; k < 2; ++k) t[(i + k) & 1] = ab.turn(s, (i + k) & 1);
    if (i < 0) continue;
    for (int k = 0; k < 2; ++k) time[k].push_back(t[k]);
    ratio.push_back(t[0] / t[1]);
  }
  const double flops =
      2.0 * static_cast<double>(s.rows * s.cols * s.tokens * s.matrices) * ab.threads();
  const double bytes = static_cast<double>(s.rows * s.matrices * ab.threads() *
                                           v4i::bench::row_bytes(s.format, s.cols));
  std::printf(
      "%-16s A %4.0f  B %4.0f GFLOP/s  %5.1f  %5.1f GB/s   B is %.3f times as fast  [%.3f %.3f]\n",
      s.name, flops / middle(time[0]) / 1e9, flops / middle(time[1]) / 1e9,
      bytes / middle(time[0]) / 1e9, bytes / middle(time[1]) / 1e9, middle(ratio), middle(ratio, 1),
      middle(ratio, 3));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("two builds of the kernels in turns");
  std::string a, b, isa = "avx512bf16", only;
  int repeat = 15, threads = 2, block_a = 128, block_b = 128;
  app.add_option("A", a, "libv4i_kernels_ab.so of one build")->required();
  app.add_option("B", b, "and of the other")->required();
  app.add_option("--isa", isa, "kernel table");
  app.add_option("--only", only, "shapes whose name has this in it");
  app.add_option("--block-a", block_a, "rows and columns of A's fp8 weights with one scale")
      ->check(CLI::IsMember({32, 128}));
  app.add_option("--block-b", block_b, "of B's")->check(CLI::IsMember({32, 128}));
  app.add_option("--repeat", repeat, "turns of each")->check(CLI::Range(4, 1000));
  app.add_option("--threads", threads, "threads")->check(CLI::Range(1, 256));
  try {
    app.parse(argc, argv);
    Ab ab(load(a, isa, block_a), load(b, isa, block_b), threads);
    for (const Shape& s : kShapes)
      if (std::strstr(s.name, only.c_str()) != nullptr && ab.has(s)) compare(ab, s, repeat);
  } catch (const CLI::Error& e) {
    return app.exit(e);
  }
}
