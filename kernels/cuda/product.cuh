// What all kernels of products share: the order of the sums, and how rows of a matrix and
// activations become operands of the tensor cores.
//
// Order.  Columns are taken in segments of kSegment.  A segment's sum is one accumulator, from
// zero, to which mma steps of 16 columns are added in the order below; segments are then added in
// rising order to a float32 that starts at zero.  Every kernel calls multiply_unit() in this order,
// so a token's result has the same bits in all of them.
//
// Columns.  A chunk is 64 bytes of a row.  Lane 4 g + t of a warp holds bytes 16 t to 16 t + 15 of
// it, of row g and of row g + 8 of a tile: one 16-byte load each.  What it holds are units of 8
// consecutive columns: 4 of fp4, 2 of fp8, 1 of bf16.  A unit is two mma steps; within a unit the
// columns are in the order in which they are easily unpacked.  Which columns meet in a step does
// not matter to the sum, as long as x is in the same order: the lane reads the same 8 columns of
// token g.
#pragma once

#include "kernels/cuda/product_plan.h"
#include "kernels/cuda/ptx.cuh"

namespace v4i::kernels::cuda {

template <WeightFormat F>
struct Layout {
  static constexpr int kUnits = F == WeightFormat::kFp4 ? 4 : F == WeightFormat::kFp8 ? 2 : 1;
  static constexpr int kColumns = 32 * kUnits;         // of a chunk
  static constexpr int kChunks = kSegment / kColumns;  // of a segment
  static constexpr int kSegmentBytes = 64 * kChunks;   // of a row
  static constexpr bool kScaled = F != WeightFormat::kBF16;
};

// Rows of a matrix that a block multiplies, and the tokens that they meet.
struct Slab {
  const uint8_t* data;
  const uint8_t* scale;
  int begin, end;  // rows
  const float* x;
  int64_t x_stride;
  const int32_t* x_row;  // token t reads row x_row[t] of x; null: row t
  float* y;              // y[t * y_stride + row]
  int64_t y_stride;
  int tokens;
  bool round;

  V4I_DEVICE const float* x_of(int token) const {
    return x + (x_row != nullptr ? x_row[token] : token) * x_stride;
  }
  V4I_DEVICE void store(int token, int row, float sum) const {
    y[token * y_stride + row] = round ? round_bf16(sum) : sum;
  }
};

V4I_DEVICE uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Four e4m3 codes, times 2^-120: an exponent and a mantissa in bf16's places.  out[0]: codes 0 and
// 2, out[1]: codes 1 and 3, which lie in the same place of both halves of the word.
V4I_DEVICE void raw_fp8(uint32_t codes, uint32_t* out) {
  out[0] = (codes << 4 & 0x07f007f0u) | (codes << 8 & 0x80008000u);
  out[1] = (codes >> 4 & 0x07f007f0u) | (codes & 0x80008000u);
}

// Eight e2m1 codes, times 2^-126.  out[i]: codes i and i + 4.  One product moves a code's sign to
// bit 15 and the rest to bits 6 to 8; no two bits meet.
V4I_DEVICE void raw_fp4(uint32_t codes, uint32_t (&out)[4]) {
  const uint32_t upper = codes >> 8;
  out[0] = (codes & 0x000f000fu) * 0x1040u & 0x81c081c0u;
  out[1] = (codes & 0x00f000f0u) * 0x0104u & 0x81c081c0u;
  out[2] = (upper & 0x000f000fu) * 0x1040u & 0x81c081c0u;
  out[3] = (codes >> 6 & 0x01c001c0u) | (codes & 0x80008000u);
}

// Scales of raw codes.  A scale code up to kMostFolded has room for the power of two that a raw
// code lacks; above, values are multiplied twice.  Both are exact.
template <WeightFormat F>
struct RawScale {
  static constexpr uint32_t kLacks = F == WeightFormat::kFp4 ? 126 : 120;
  static constexpr int kMostFolded = 254 - static_cast<int>(kLacks);
  // The pair of bf16 for a code from 1 to 254, and to kMostFolded when folded.
  V4I_DEVICE static uint32_t of(int code, bool folded) {
    return (static_cast<uint32_t>(code) + (folded ? kLacks : 0u)) * 0x00800080u;
  }
};
// Codes 0 and 255 are not in use.
V4I_DEVICE int usable_code(int code) { return min(max(code, 1), 254); }

// Unit `unit` of what a lane holds of a row, times its scale: four pairs of bf16, in the order that
// pack_x() has too.
template <WeightFormat F, bool kFolded>
V4I_DEVICE void unpack_unit(const uint4& codes, int unit, uint32_t scale, uint32_t (&out)[4]) {
  if constexpr (F == WeightFormat::kBF16) {
    out[0] = codes.x, out[1] = codes.y, out[2] = codes.z, out[3] = codes.w;
    return;
  }
  if constexpr (F == WeightFormat::kFp8) {
    raw_fp8(word_of(codes, 2 * unit), out);
    raw_fp8(word_of(codes, 2 * unit + 1), out + 2);
  } else if constexpr (F == WeightFormat::kFp4) {
    raw_fp4(word_of(codes, unit), out);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (!kFolded) out[i] = multiply_bf16(out[i], (127 + RawScale<F>::kLacks) * 0x00800080u);
    out[i] = multiply_bf16(out[i], scale);
  }
}

// Both mma steps of a unit: rows g (low) and g + 8 (high), token g (x: 8 columns of it).
V4I_DEVICE void multiply_unit(float (&sum)[4], const uint32_t (&low)[4], const uint32_t (&high)[4],
                              const uint4& x) {
  const uint32_t first[2] = {x.x, x.y}, second[2] = {x.z, x.w};
  mma_bf16(sum, {low[0], high[0], low[1], high[1]}, first);
  mma_bf16(sum, {low[2], high[2], low[3], high[3]}, second);
}

// ---- x in shared memory: bf16, rows of tokens, a row a multiple of 64 columns.  Units of 8
// columns change places so that 8 lanes that read together meet 8 different groups of banks.

template <WeightFormat F>
V4I_DEVICE int place_of_unit(int token, int unit) {
  if constexpr (F == WeightFormat::kBF16) return unit ^ (token & 1) << 2;
  if constexpr (F == WeightFormat::kFp8) return unit ^ (token & 1);
  return unit ^ (token & 1) ^ (unit >> 3 & 1) << 1;
}

// Where lane 4 g + t finds unit `unit` of chunk `chunk` of a token: place_of_unit() with the lane's
// part apart, so that the rest is known when compiling.  `row`: the token's, from shared_memory().
template <WeightFormat F>
V4I_DEVICE int x_of_lane(int row, int token) {
  return row + 16 * place_of_unit<F>(token, lane() % 4 * Layout<F>::kUnits);
}
template <WeightFormat F>
V4I_DEVICE uint4 x_unit(int of_lane, int chunk, int unit) {
  constexpr int kUnits = Layout<F>::kUnits;
  constexpr int kMask = F == WeightFormat::kBF16 ? 4 : kUnits - 1;  // bits that change places
  const int rest = chunk * 4 * kUnits + unit;
  return *reinterpret_cast<const uint4*>(shared_memory() + (of_lane ^ 16 * (rest & kMask)) +
                                         16 * (rest & ~kMask));
}

// Columns [column, column + 8) of a row of x, zeros from `cols` on.
V4I_DEVICE void load_x(const float* row, int column, int cols, bool aligned, float (&v)[8]) {
  if (aligned && column + 8 <= cols) {
    const float4 a = *reinterpret_cast<const float4*>(row + column);
    const float4 b = *reinterpret_cast<const float4*>(row + column + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = column + i < cols ? row[column + i] : 0.0f;
}

V4I_DEVICE bool aligned_x(const Slab& s) {
  return (reinterpret_cast<uintptr_t>(s.x) % 16 | s.x_stride % 4) == 0;
}

// 8 columns as a lane of mma wants them, see raw_fp8() and raw_fp4().
template <WeightFormat F>
V4I_DEVICE uint4 pack_x(const float (&v)[8]) {
  if constexpr (F == WeightFormat::kFp4)
    return make_uint4(pack_bf16(v[0], v[4]), pack_bf16(v[1], v[5]), pack_bf16(v[2], v[6]),
                      pack_bf16(v[3], v[7]));
  if constexpr (F == WeightFormat::kFp8)
    return make_uint4(pack_bf16(v[0], v[2]), pack_bf16(v[1], v[3]), pack_bf16(v[4], v[6]),
                      pack_bf16(v[5], v[7]));
  return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                    pack_bf16(v[6], v[7]));
}

}  // namespace v4i::kernels::cuda
