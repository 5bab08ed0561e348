// Index scores at the shapes of V4-Flash: 64 heads, keys of 128 channels in 68 bytes.
//
// Bound by arithmetic, at 64 heads by a factor of ten over its bytes: `ops` (multiplications and
// additions of the dot products) next to "peak", bytes per second next to "read".  262144 keys
// are a context of a million tokens.  With two threads each takes half of the keys.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "bench/limits.h"
#include "kernels/kernels.h"
#include "kernels/quant.h"

namespace {

using namespace v4i::kernels;

constexpr int kDim = 128, kHeads = 64, kKeyBytes = 68, kBlock = 64, kPiece = 4096;
constexpr std::int64_t kKeys = 262144;

std::vector<float> normal(std::int64_t n, unsigned seed) {
  std::mt19937 g(seed);
  std::normal_distribution<float> d;
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) v = d(g);
  return x;
}

const std::vector<std::uint8_t>& keys() {
  static const auto all = [] {
    const auto x = normal(kDim * 1000, 1);
    std::vector<std::uint8_t> v(kKeys * kKeyBytes);
    for (std::int64_t i = 0; i < kKeys; ++i)
      pack_key(x.data() + i % 1000 * kDim, kDim, v.data() + i * kKeyBytes);
    return v;
  }();
  return all;
}

void scores(benchmark::State& state, const char* isa) {
  const KernelTable* table = select_kernels(isa);
  if (table == nullptr) return state.SkipWithError("does not run on this processor");
  const std::int64_t count = state.range(0) / state.threads();
  const std::int64_t first = count * state.thread_index();
  const int queries = static_cast<int>(state.range(1));
  auto q = normal(queries * kHeads * kDim, 2), w = normal(queries * kHeads, 3);
  fp4_sim(q.data(), q.data(), queries * kHeads * kDim, 32);
  round_bf16(w.data(), queries * kHeads);
  std::vector<float> score(static_cast<std::size_t>(queries * kPiece));
  std::vector<float> scratch(static_cast<std::size_t>(index_scratch_floats(kDim, kHeads, queries)));
  const std::uint8_t* block[kPiece / kBlock];
  for (auto _ : state) {
    for (std::int64_t j = first; j < first + count; j += kPiece) {
      for (int b = 0; b < kPiece / kBlock; ++b)
        block[b] = keys().data() + (j + b * kBlock) * kKeyBytes;
      table->index_scores({kDim, kHeads, true, block, kBlock, std::min<std::int64_t>(kPiece, count),
                           kKeyBytes, queries, q.data(), w.data(), score.data(), kPiece, true,
                           scratch.data()});
    }
    benchmark::DoNotOptimize(score.data());
  }
  state.SetBytesProcessed(state.iterations() * count * kKeyBytes);
  state.counters["ops"] = benchmark::Counter(
      static_cast<double>(state.iterations() * count * queries * kHeads * kDim * 2),
      benchmark::Counter::kIsRate);
}

void peak(benchmark::State& state) {
  v4i::bench::peak(state, v4i::bench::int8_turns, v4i::bench::kPeakIntOps, "ops");
}
void read(benchmark::State& state) { v4i::bench::read_lines(state, keys()); }

BENCHMARK(peak)->Unit(benchmark::kMillisecond)->UseRealTime()->ThreadRange(1, 2);
BENCHMARK(read)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(scores, avx512bf16, "avx512bf16")
    ->Args({16384, 1})
    ->Args({kKeys, 1})
    ->Args({16384, 8})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->ThreadRange(1, 2);
BENCHMARK_CAPTURE(scores, avx512, "avx512")->Args({16384, 1})->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(scores, avx2, "avx2")->Args({16384, 1})->Unit(benchmark::kMillisecond);

}  // namespace
