// Attention of one query at the shapes of V4-Flash: 64 heads, rows of 512 channels in 584 bytes.
//
// Rows by context:  128 window only;  384 CSA and 136 HCA at 1k;  640 both at 64k, CSA at 1M;
// 8320 HCA at 1M.  Up to 640 rows come from anywhere, as selected rows do.  Bound by arithmetic
// from a few hundred rows on: `flops` next to "peak", bytes per second next to "read".  With two
// threads each takes half of the heads.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "bench/limits.h"
#include "kernels/kernels.h"
#include "kernels/quant.h"

namespace {

using namespace v4i::kernels;

constexpr int kDim = 512, kRope = 64, kHeads = 64, kRowBytes = 584;
constexpr std::int64_t kScatter = 102197;  // odd: another order of all rows
constexpr std::int64_t kRows = 262144;     // 153 MB: more than caches hold

std::vector<float> normal(std::int64_t n, unsigned seed) {
  std::mt19937 g(seed);
  std::normal_distribution<float> d;
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = d(g);
  return x;
}

const std::vector<std::uint8_t>& rows() {
  static const auto all = [] {
    const auto x = normal(kDim * 256, 1);
    std::vector<std::uint8_t> v(kRows * kRowBytes);
    for (std::int64_t i = 0; i < kRows; ++i)
      pack_row(x.data() + i % 256 * kDim, kDim, kRope, v.data() + i * kRowBytes);
    return v;
  }();
  return all;
}

void attention(benchmark::State& state, const char* isa) {
  const KernelTable* table = select_kernels(isa);
  if (table == nullptr) return state.SkipWithError("does not run on this processor");
  const std::int64_t n = state.range(0);
  auto q = normal(kHeads * kDim, 2);
  round_bf16(q.data(), kHeads * kDim);
  const std::vector<float> sink(kHeads, 0.5f);
  std::vector<float> out(kHeads * kDim);
  const std::int64_t heads = kHeads / state.threads(), first = heads * state.thread_index();
  std::vector<float> scratch(static_cast<std::size_t>(attention_scratch_floats(kDim, n, heads)));
  std::vector<const void*> row(static_cast<std::size_t>(n));
  std::int64_t at = 0;  // other rows every time, as the layers of a model have them
  for (auto _ : state) {
    if (at + n > kRows) at = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t from = n > 640 ? at + i : (at + i) * kScatter % kRows;
      row[static_cast<std::size_t>(i)] = rows().data() + from * kRowBytes;
    }
    at += n;
    table->attention({{kDim, kRope, v4i::RowForm::kFp8Rope16},
                      row.data(),
                      n,
                      q.data(),
                      sink.data(),
                      out.data(),
                      first,
                      first + heads,
                      1 / std::sqrt(float{kDim}),
                      true,
                      scratch.data()});
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(state.iterations() * n * kRowBytes / state.threads());
  state.counters["flops"] = benchmark::Counter(
      static_cast<double>(state.iterations() * n * heads * kDim * 4), benchmark::Counter::kIsRate);
}

void peak(benchmark::State& state) {
  v4i::bench::peak(state, v4i::bench::bf16_turns, v4i::bench::kPeakFlops, "flops");
}
void read(benchmark::State& state) { v4i::bench::read_lines(state, rows()); }

BENCHMARK(peak)->Unit(benchmark::kMicrosecond)->UseRealTime()->ThreadRange(1, 2);
BENCHMARK(read)->Unit(benchmark::kMicrosecond)->UseRealTime();
#define V4I_ATTENTION(isa)                \
  BENCHMARK_CAPTURE(attention, isa, #isa) \
      ->Arg(128)                          \
      ->Arg(384)                          \
      ->Arg(640)                          \
      ->Arg(8320)                         \
      ->Unit(benchmark::kMicrosecond)     \
      ->UseRealTime()
V4I_ATTENTION(avx512bf16)->ThreadRange(1, 2);
V4I_ATTENTION(avx512);
V4I_ATTENTION(avx2);

}  // namespace
