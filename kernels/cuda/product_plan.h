// How a product's rows and columns are shared out to blocks.  Plain C++.
//
// Nothing here changes a result: sums are made of the same parts in the same order whatever the
// plan, see product.cuh.
#pragma once

#include <cstdint>

#include "kernels/cuda/types.h"
#include "kernels/formats.h"

namespace v4i::kernels::cuda {

constexpr int kSegment = 512;       // columns of a partial sum
constexpr int kRowTile = 16;        // rows that a warp multiplies together
constexpr int kFloatRowTile = 4;    // the same in float32
constexpr int kFewTokens = 16;      // most tokens of the kernels for few
constexpr int kFloatTokens = 16;    // tokens of a block of the float32 kernels
constexpr int kManyTokens = 64;     // tokens of a block of the kernels for many
constexpr int kProductWarps = 8;    // of a block, at most
constexpr int kEnoughBlocks = 128;  // below, blocks are made smaller so that there are more

// Exact numerics and float32 weights are multiplied in float32, all others by tensor cores.
constexpr bool needs_float(const Matrix& w, bool native) {
  return !native || w.format == static_cast<std::int32_t>(WeightFormat::kF32);
}

V4I_EVERYWHERE constexpr int segments_of(std::int32_t cols) {
  return (cols + kSegment - 1) / kSegment;
}

// Of a block of the kernels for few, and of those in float32.
struct FewPlan {
  std::int32_t tiles = 1;  // row tiles
  std::int32_t pass = 1;   // segments between two barriers
};

// Scale codes in shared memory: of each row, for a segment.  fp8: one for 64 columns, where the
// blocks allow it, else one for 16; fp4: one for 32.
V4I_EVERYWHERE constexpr int codes_of_segment(const Matrix& w) {
  if (w.format == static_cast<std::int32_t>(WeightFormat::kFp4)) return kSegment / 32;
  if (w.format != static_cast<std::int32_t>(WeightFormat::kFp8)) return 0;
  return w.block_cols % 64 == 0 ? kSegment / 64 : kSegment / 16;
}

// Bytes of shared memory of a block for few, in this order, each a multiple of 16.
struct FewShared {
  std::int32_t x, codes, sums, carry;
  V4I_EVERYWHERE constexpr std::int32_t bytes() const { return x + codes + sums + carry; }
};
constexpr int kSumStride = 20;  // floats from token to token of a tile's sums

V4I_EVERYWHERE constexpr FewShared few_shared(const Matrix& w, FewPlan plan, int tokens) {
  const int padded = (tokens + 7) / 8 * 8, codes = codes_of_segment(w);
  FewShared s{};
  s.x = tokens * plan.pass * kSegment * 2;
  s.codes = codes == 0 ? 0 : plan.tiles * kRowTile * (plan.pass * codes + 4);
  s.sums = plan.tiles * plan.pass * padded * kSumStride * 4;
  s.carry = segments_of(w.cols) > plan.pass ? plan.tiles * kRowTile * tokens * 4 : 0;
  return s;
}

constexpr std::int32_t float_shared(FewPlan plan) {
  return plan.tiles * kFloatTokens * kFloatRowTile * 4 * (plan.pass + 1);
}

// At least `least` row tiles, of which the warps of a block are busy most of the time.
constexpr int busy_tiles(int pass, int least) {
  for (int tiles = least;; ++tiles) {
    const int items = tiles * pass;
    const int turns = (items + kProductWarps - 1) / kProductWarps;
    if (8 * items >= 7 * kProductWarps * turns) return tiles;
  }
}

constexpr int pass_of(int segments, int tokens, int x_bytes) {
  int most = x_bytes / (tokens * kSegment * 2);
  most = most < 1 ? 1 : most > 16 ? 16 : most;
  const int passes = (segments + most - 1) / most;
  return (segments + passes - 1) / passes;  // even ones
}

// The more tokens, the more rows that share what a block reads of x.  A warp reads 4 to 8 KiB at a
// time; with few tokens nothing else speaks for large blocks.
constexpr FewPlan few_plan(const Matrix& w, int tokens) {
  const bool fp4 = w.format == static_cast<std::int32_t>(WeightFormat::kFp4);
  FewPlan p;
  p.pass = pass_of(segments_of(w.cols), tokens, 32 << 10);
  const int least = tokens <= 2 ? 1 : tokens <= 4 ? 2 : 4;
  const int items = fp4 && tokens <= 2 ? 2 * kProductWarps : kProductWarps;
  p.tiles = busy_tiles(p.pass, p.pass * least < items ? (items + p.pass - 1) / p.pass : least);
  return p;
}

constexpr FewPlan float_plan(const Matrix& w) {
  FewPlan p;
  p.pass = segments_of(w.cols) < 64 ? segments_of(w.cols) : 64;
  p.tiles = busy_tiles(p.pass, 1);
  return p;
}

// Smaller blocks of the same matrix: fewer rows, and x in fewer passes.
constexpr FewPlan smaller(const Matrix& w, FewPlan p, int tokens) {
  p.tiles = (p.tiles + 1) / 2;
  p.pass = pass_of(segments_of(w.cols), tokens, 64 << 10);
  return p;
}

// Columns of a row that a block for many takes at a time.
constexpr int many_columns(std::int32_t format) {
  return format == static_cast<std::int32_t>(WeightFormat::kFp4) ? 128 : 64;
}
// Two tiles of x, and the totals of each thread.
constexpr std::int32_t many_shared(std::int32_t format, std::int32_t threads) {
  return 2 * kManyTokens * many_columns(format) * 2 + threads * kManyTokens * 4;
}

}  // namespace v4i::kernels::cuda
