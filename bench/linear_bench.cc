// The linear kernels at the shapes of V4-Flash, one thread.
//
// One token is bound by memory: bytes per second, next to "read", which sums a buffer
// of the same size.  12 tokens are what an expert gets of a prompt of 512; 512 are bound by
// arithmetic: flops per second, next to "dot_peak".
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "bench/codes.h"
#include "bench/limits.h"
#include "kernels/kernels.h"

namespace {

using namespace v4i::kernels;

// Larger than the last-level cache, so that weights come from memory.
constexpr std::int64_t kBytes = std::int64_t{256} << 20;

const std::vector<std::uint8_t>& codes() {
  static const auto c = v4i::bench::random_codes(kBytes);
  return c;
}

using Product = void (*KernelTable::*)(const LinearArgs&);

void linear(benchmark::State& state, const char* isa, Format format,
            Product product = &KernelTable::linear) {
  const KernelTable* table = select_kernels(isa);
  if (table == nullptr) return state.SkipWithError("does not run on this processor");
  const std::int64_t cols = state.range(0), tokens = state.range(1);
  const std::int64_t rows =
      tokens <= 3 ? kBytes / v4i::bench::row_bytes(format, cols) / 8 * 8 : 2048;
  const int block_rows = format == Format::kFp8 ? 128 : 1;
  const int block_cols = format == Format::kFp8 ? 128 : 32;
  const std::vector<std::uint8_t> scale(
      static_cast<std::size_t>((rows + block_rows - 1) / block_rows * (cols / block_cols)), 120);
  const std::vector<float> x(static_cast<std::size_t>(tokens * cols), 0.5f);
  std::vector<float> y(static_cast<std::size_t>(tokens * rows));
  std::vector<float> scratch(static_cast<std::size_t>(linear_scratch_floats(cols)));
  LinearArgs args{{format, rows, cols, codes().data(), scale.data(), block_rows, block_cols},
                  0,
                  rows,
                  x.data(),
                  cols,
                  nullptr,
                  y.data(),
                  rows,
                  tokens,
                  false,
                  scratch.data()};
  args.bf16_x = true;  // as in native numerics
  for (auto _ : state) {
    (table->*product)(args);
    benchmark::DoNotOptimize(y.data());
  }
  state.SetBytesProcessed(state.iterations() * rows * v4i::bench::row_bytes(format, cols));
  state.counters["flops"] =
      benchmark::Counter(static_cast<double>(state.iterations() * rows * cols * tokens * 2),
                         benchmark::Counter::kIsRate);
}

void read(benchmark::State& state) {
  const auto& c = codes();
  for (auto _ : state) {
    std::uint64_t lane[16] = {};
    for (std::size_t i = 0; i + 128 <= c.size(); i += 128)
      for (int l = 0; l < 16; ++l) {
        std::uint64_t w;
        std::memcpy(&w, &c[i + 8 * static_cast<std::size_t>(l)], 8);
        lane[l] += w;
      }
    benchmark::DoNotOptimize(lane);
  }
  state.SetBytesProcessed(state.iterations() * kBytes);
}

void dot_peak(benchmark::State& state) {
  v4i::bench::peak(state, v4i::bench::bf16_turns, v4i::bench::kPeakFlops, "flops");
}
BENCHMARK(dot_peak);

BENCHMARK(read)->Unit(benchmark::kMillisecond);
#define V4I_LINEAR(isa, name, ...)                           \
  BENCHMARK_CAPTURE(linear, isa##_##name, #isa, __VA_ARGS__) \
      ->Args({4096, 1})                                      \
      ->Args({4096, 3})                                      \
      ->Args({4096, 6})                                      \
      ->Args({4096, 12})                                     \
      ->Args({4096, 24})                                     \
      ->Args({4096, 48})                                     \
      ->Args({4096, 512})                                    \
      ->Unit(benchmark::kMillisecond)
V4I_LINEAR(avx512bf16, fp8, Format::kFp8);
V4I_LINEAR(avx512bf16, fp4, Format::kFp4);
V4I_LINEAR(avx512bf16, bf16, Format::kBF16);
V4I_LINEAR(avx512bf16, fp8_int8, Format::kFp8, &KernelTable::linear_int8);
V4I_LINEAR(avx512bf16, fp4_int8, Format::kFp4, &KernelTable::linear_int8);
V4I_LINEAR(avx512, fp8, Format::kFp8);
V4I_LINEAR(avx512, fp4, Format::kFp4);
V4I_LINEAR(avx512, bf16, Format::kBF16);
V4I_LINEAR(avx2, fp8, Format::kFp8);
V4I_LINEAR(avx2, fp4, Format::kFp4);
V4I_LINEAR(avx2, bf16, Format::kBF16);

}  // namespace
