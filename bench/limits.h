// The limits that the kernel benches stand beside, as benchmarks.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "bench/peak.h"
#include "kernels/kernels.h"

namespace v4i::bench {

// A register-resident loop of peak.h; `each` operations a turn go into `counter`.
inline void peak(benchmark::State& state, void (*turns)(std::int64_t), std::int64_t each,
                 const char* counter) {
  if (kernels::select_kernels("avx512bf16") == nullptr)
    return state.SkipWithError("the avx512bf16 kernels do not run here");
  for (auto _ : state) turns(1 << 20);
  state.counters[counter] = benchmark::Counter(
      static_cast<double>(state.iterations() * (1 << 20)) * static_cast<double>(each),
      benchmark::Counter::kIsRate);
}

// Every cache line of `data`.
inline void read_lines(benchmark::State& state, const std::vector<std::uint8_t>& data) {
  for (auto _ : state) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < data.size(); i += 64) sum += data[i];
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(data.size()));
}

}  // namespace v4i::bench
