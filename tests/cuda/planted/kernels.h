// Small kernels, right and with a fault on request: what the emulator must find.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace v4i::kernels::cuda {

enum Fault : std::int32_t {
  kRight,
  kNoBarrier,  // of the block
  kNoWarpBarrier,
  kNoCopyWait,
  kStoreBehind,       // one float behind the end
  kSharedBehind,      // likewise in shared memory
  kSharedRace,        // two threads write a word that nobody reads
  kBlocksRace,        // two blocks write a word
  kBlocksReadRace,    // a block reads what another one writes
  kDivergentBarrier,  // two places
  kMissingThread,     // a warp waits elsewhere
  kDivergentShuffle,
  kNotWritten,     // reads shared memory that nobody wrote
  kWrongFragment,  // of mma
  kMisaligned,
  kWarpEnds,  // before a barrier: no fault, those that ended are not waited for
};

struct SumArgs {  // out[b] = sum of in[b * 256 ...]
  const float* in;
  float* out;
  std::int32_t count, fault;
};

struct TransposeArgs {  // out[c, r] = in[r, c] in tiles of 32 x 32
  const float* in;
  float* out;
  std::int32_t rows, cols, fault;
};

struct HistogramArgs {  // counts[v] of 16 values
  const std::uint8_t* in;
  std::int32_t* counts;
  std::int32_t count, fault;
};

struct TileArgs {  // d [16, 8] = a [16, 16] b [16, 8]; a and b (transposed) of bfloat16
  const std::uint16_t *a, *b;
  float* d;
  std::int32_t fault;
};

inline Launch launch_sum(const SumArgs& a) {
  return {"v4i_planted_sum", static_cast<std::uint32_t>(divide_up(a.count, 256)), 1, 1, 256,
          9 * sizeof(float)};
}

inline Launch launch_transpose(const TransposeArgs& a) {
  return {"v4i_planted_transpose",
          static_cast<std::uint32_t>(divide_up(a.cols, 32)),
          static_cast<std::uint32_t>(divide_up(a.rows, 32)),
          1,
          256,
          32 * 33 * sizeof(float)};
}

inline Launch launch_histogram(const HistogramArgs& a) {
  return {"v4i_planted_histogram",  static_cast<std::uint32_t>(divide_up(a.count, 512)), 1, 1, 128,
          16 * sizeof(std::int32_t)};
}

inline Launch launch_tile(const TileArgs&) { return {"v4i_planted_tile", 1, 1, 1, 32, 768}; }

}  // namespace v4i::kernels::cuda
