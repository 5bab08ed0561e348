// Kernels of norm.h.
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/norm.h"

namespace v4i::kernels::cuda {

namespace {

template <bool kWhole>
V4I_DEVICE void norm(const NormArgs& a) {
  const int64_t t = blockIdx.x;
  float* warp_sums = reinterpret_cast<float*>(shared_memory());
  const float* x = a.x + t * a.x_stride;
  float* y = a.y != nullptr ? a.y + t * a.y_stride : nullptr;
  float* yq = a.yq != nullptr ? a.yq + t * a.cols : nullptr;
  float* kept = kept_row(warp_sums + 32, y, a.cols);
  float4 gains[kGainsAhead];
  load_gains<kNormThreads, kWhole>(a.gain, a.cols, gains);
  float squares = 0;
#pragma unroll 2
  for (int at = 4 * static_cast<int>(threadIdx.x); at < a.cols; at += 4 * kNormThreads) {
    const float4 v = load4<kWhole>(x, at, a.cols);
    squares = dot4(v, v, squares);
    keep4<kWhole>(kept, at, a.cols, v);
  }
  normalise<kNormThreads, kWhole>({a.gain, y, yq, a.cols, a.quantise_block, a.eps, a.native != 0},
                                  kept, squares, warp_sums, gains);
}

// First of the four channels of this thread, in a launch over rows.
V4I_DEVICE int row_channel() {
  return static_cast<int>(blockIdx.y) * kRowChannels + 4 * static_cast<int>(threadIdx.x);
}

template <bool kWhole>
V4I_DEVICE void quantise(const QuantiseRowsArgs& a, const float* x, float* y) {
  const int at = row_channel();
  store4<kWhole>(y, at, a.cols, quantised4(load4<kWhole>(x, at, a.cols), a.block));
}

template <bool kWhole>
V4I_DEVICE void embed(const EmbedArgs& a, int64_t t) {
  const int at = row_channel();
  const float4 v = load4<kWhole>(a.rows + t * a.width, at, a.width);
  for (int s = 0; s < a.count; ++s)
    store4<kWhole>(a.streams + (t * a.count + s) * a.width, at, a.width, v);
}

template <bool kWhole>
V4I_DEVICE void add_to_streams(const AddStreamsArgs& a, int64_t t) {
  const int at = row_channel();
  const float4 v = load4<kWhole>(a.rows + t * a.width, at, a.width);
  for (int s = 0; s < a.count; ++s) {
    float* stream = a.streams + (t * a.count + s) * a.width;
    const float4 sum = add4(load4<kWhole>(stream, at, a.width), v);
    store4<kWhole>(stream, at, a.width, rounded4(sum, a.native != 0));
  }
}

}  // namespace

V4I_KERNEL(v4i_norm, NormArgs, kNormThreads, 2) {
  const bool whole = a.cols % 4 == 0 && a.x_stride % 4 == 0 && a.y_stride % 4 == 0;
  if (whole)
    norm<true>(a);
  else
    norm<false>(a);
}

V4I_KERNEL(v4i_quantise, QuantiseRowsArgs, kRowThreads, 4) {
  const float* x = a.x + int64_t{blockIdx.x} * a.cols;
  float* y = a.y + int64_t{blockIdx.x} * a.cols;
  if (!fits_warp(a.block)) {
    const int b = static_cast<int>(blockIdx.y) * (kRowThreads / 32) + warp();
    if (int64_t{b} * a.block < a.cols) quantise_block(x, y, a.cols, a.block, b);
  } else if (a.cols % 4 == 0) {
    quantise<true>(a, x, y);
  } else {
    quantise<false>(a, x, y);
  }
}

V4I_KERNEL(v4i_embed, EmbedArgs, kRowThreads, 4) {
  if (a.width % 4 == 0)
    embed<true>(a, blockIdx.x);
  else
    embed<false>(a, blockIdx.x);
}

V4I_KERNEL(v4i_pick, PickArgs, kRowThreads, 4) {
  const PickedArray& array = a.array[blockIdx.z];
  const int64_t row = a.tokens[blockIdx.x].row;
  const float* from = array.from + row * array.width;
  float* to = array.to + int64_t{blockIdx.x} * array.width;
  const int at = row_channel();
  if (array.width % 4 == 0)
    store4<true>(to, at, array.width, load4<true>(from, at, array.width));
  else
    store4<false>(to, at, array.width, load4<false>(from, at, array.width));
}

V4I_KERNEL(v4i_add_streams, AddStreamsArgs, kRowThreads, 4) {
  if (a.width % 4 == 0)
    add_to_streams<true>(a, blockIdx.x);
  else
    add_to_streams<false>(a, blockIdx.x);
}

}  // namespace v4i::kernels::cuda
