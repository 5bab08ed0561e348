// A block of a product in float32: exact numerics, and float32 weights.  The order of its sums is
// its own: a lane adds its 16 columns of a segment, then the lanes of a warp are added, then the
// segments.
//
// An item is a tile of 4 rows times a segment; a warp takes every W-th, keeps its weights in
// registers, as float32, and multiplies them by one token after another.
#pragma once

#include "kernels/cuda/product.cuh"

namespace v4i::kernels::cuda {

// Columns [column, column + 4) of a row as float32, without their scale; column % 4 == 0.
template <WeightFormat F>
V4I_DEVICE float4 load_weights(const uint8_t* row, int column) {
  if constexpr (F == WeightFormat::kF32) {
    const uint4 v = load16(row + int64_t{4} * column);
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                       __uint_as_float(v.w));
  } else if constexpr (F == WeightFormat::kBF16) {
    const uint2 v = *reinterpret_cast<const uint2*>(row + int64_t{2} * column);
    return make_float4(low_bf16(v.x), high_bf16(v.x), low_bf16(v.y), high_bf16(v.y));
  } else if constexpr (F == WeightFormat::kFp8) {
    const uint32_t v = *reinterpret_cast<const uint32_t*>(row + column);
    const auto value = [v](int i) { return fp8_value(static_cast<uint8_t>(v >> 8 * i)); };
    return make_float4(value(0), value(1), value(2), value(3));
  } else {
    const unsigned v = *reinterpret_cast<const uint16_t*>(row + column / 2);
    return make_float4(fp4_value(v & 15), fp4_value(v >> 4 & 15), fp4_value(v >> 8 & 15),
                       fp4_value(v >> 12));
  }
}

// A lane's weights of an item: columns 128 j + 4 lane() of the segment and the three behind.
template <WeightFormat F>
V4I_DEVICE void load_item(const Matrix& w, const Slab& s, int first_row, int segment,
                          float (&weight)[kFloatRowTile][16]) {
#pragma unroll
  for (int r = 0; r < kFloatRowTile; ++r) {
    const int row = min(first_row + r, s.end - 1);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int column = segment * kSegment + 128 * j + 4 * lane();
      float4 v = make_float4(0, 0, 0, 0);
      float scale = 1;
      if (column < w.cols) {
        v = load_weights<F>(s.data + row * w.row_bytes, column);
        if constexpr (F == WeightFormat::kFp8 || F == WeightFormat::kFp4)
          scale = ue8m0_value(s.scale[static_cast<int64_t>(row / w.block_rows) * w.scale_cols +
                                      column / w.block_cols]);
      }
      weight[r][4 * j] = v.x * scale, weight[r][4 * j + 1] = v.y * scale;
      weight[r][4 * j + 2] = v.z * scale, weight[r][4 * j + 3] = v.w * scale;
    }
  }
}

// The same columns of a token.
V4I_DEVICE void load_token(const float* row, int segment, int cols, bool aligned, float (&x)[16]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int column = segment * kSegment + 128 * j + 4 * lane();
    if (aligned && column + 4 <= cols) {
      const float4 v = *reinterpret_cast<const float4*>(row + column);
      x[4 * j] = v.x, x[4 * j + 1] = v.y, x[4 * j + 2] = v.z, x[4 * j + 3] = v.w;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[4 * j + i] = column + i < cols ? row[column + i] : 0.0f;
    }
  }
}

// Sums of an item for each token, to out[token][row].
template <WeightFormat F>
V4I_DEVICE void multiply_float_item(const Matrix& w, const Slab& s, int tile, int segment,
                                    float* out) {
  const bool aligned = aligned_x(s);
  float weight[kFloatRowTile][16];
  load_item<F>(w, s, s.begin + tile * kFloatRowTile, segment, weight);
  for (int token = 0; token < s.tokens; ++token) {
    float x[16];
    load_token(s.x_of(token), segment, w.cols, aligned, x);
    float of_row = 0;
#pragma unroll
    for (int r = 0; r < kFloatRowTile; ++r) {
      float sum = 0;
#pragma unroll
      for (int k = 0; k < 16; ++k) sum = __fmaf_rn(weight[r][k], x[k], sum);
      sum = warp_sum(sum);
      if (lane() == r) of_row = sum;
    }
    if (lane() < kFloatRowTile) out[token * kFloatRowTile + lane()] = of_row;
  }
}

// s.tokens <= kFloatTokens.
template <WeightFormat F>
V4I_DEVICE void multiply_float(const Matrix& w, const Slab& s, FewPlan plan) {
  constexpr int kItem = kFloatTokens * kFloatRowTile;
  float* carry = reinterpret_cast<float*>(shared_memory());  // [tile]: the passes before
  float* sums = carry + plan.tiles * kItem;                  // [tile][segment of the pass]
  const int tiles = (s.end - s.begin + kFloatRowTile - 1) / kFloatRowTile;
  const int segments = segments_of(w.cols), warps = static_cast<int>(blockDim.x / 32);
  for (int from = 0; from < segments; from += plan.pass) {
    const int width = min(plan.pass, segments - from);
    for (int item = warp(); item < tiles * width; item += warps)
      multiply_float_item<F>(w, s, item / width, from + item % width, sums + item * kItem);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < tiles * s.tokens * kFloatRowTile;
         i += static_cast<int>(blockDim.x)) {
      const int tile = i / (s.tokens * kFloatRowTile), at = i - tile * s.tokens * kFloatRowTile;
      const int row = s.begin + tile * kFloatRowTile + at % kFloatRowTile;
      float sum = from == 0 ? 0.0f : carry[i];
      for (int k = 0; k < width; ++k) sum += sums[(tile * width + k) * kItem + at];
      if (from + width < segments)
        carry[i] = sum;
      else if (row < s.end)
        s.store(at / kFloatRowTile, row, sum);
    }
    __syncthreads();
  }
}

V4I_DEVICE void multiply_float(const Matrix& w, const Slab& s, FewPlan plan) {
  switch (static_cast<WeightFormat>(w.format)) {
    case WeightFormat::kF32:
      return multiply_float<WeightFormat::kF32>(w, s, plan);
    case WeightFormat::kBF16:
      return multiply_float<WeightFormat::kBF16>(w, s, plan);
    case WeightFormat::kFp8:
      return multiply_float<WeightFormat::kFp8>(w, s, plan);
    case WeightFormat::kFp4:
      return multiply_float<WeightFormat::kFp4>(w, s, plan);
  }
}

}  // namespace v4i::kernels::cuda
