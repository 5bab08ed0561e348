// The norm of a row by the threads of a block, and its quantised copy.
//
// Thread i takes channels 4 i to 4 i + 3 and every 4 kThreads-th after those.  The order of the
// sums follows from the length of the row alone.
#pragma once

#include "kernels/cuda/quantise.cuh"
#include "kernels/cuda/row_launch.h"
#include "kernels/cuda/vector.cuh"

namespace v4i::kernels::cuda {

// Blocks that do not straddle the 128 channels that a warp holds.
V4I_DEVICE bool fits_warp(int block) {
  return block >= 4 && block <= 128 && (block & (block - 1)) == 0;
}

// fp8_sim of the channels that a warp holds, four a lane, in blocks that fit.
V4I_DEVICE float4 quantised4(float4 v, int block) {
  float largest = largest4(v);
  for (int lanes = block / 8; lanes > 0; lanes /= 2)
    largest = fmaxf(largest, shuffle_xor(largest, lanes));
  return make_float4(fp8_sim(v.x, largest), fp8_sim(v.y, largest), fp8_sim(v.z, largest),
                     fp8_sim(v.w, largest));
}

// fp8_sim of block b of a row, any size, by one warp; y may be x.
V4I_DEVICE void quantise_block(const float* x, float* y, int cols, int block, int b) {
  const int begin = b * block, end = begin + block < cols ? begin + block : cols;
  float largest = 0;
  for (int i = begin + lane(); i < end; i += 32) largest = fmaxf(largest, fabsf(x[i]));
  largest = warp_max(largest);
  for (int i = begin + lane(); i < end; i += 32) y[i] = fp8_sim(x[i], largest);
}

// The same bits for all of the kThreads threads that call it: warps in rising order.
template <int kThreads>
V4I_DEVICE float sum_of_threads(float v, float* warp_sums) {
  v = warp_sum(v);
  if (lane() == 0) warp_sums[warp()] = v;
  named_barrier(1, kThreads);
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) sum += warp_sums[w];
  return sum;
}

struct NormedRow {
  const float* gain;
  float *y, *yq;    // or null
  int cols, block;  // of yq
  float eps;
  bool native;
};

constexpr int kGainsAhead = 2;  // loaded before they are needed, four channels each

template <int kThreads, bool kWhole>
V4I_DEVICE void load_gains(const float* gain, int cols, float4 (&ahead)[kGainsAhead]) {
#pragma unroll
  for (int i = 0; i < kGainsAhead; ++i)
    ahead[i] = load4<kWhole>(gain, 4 * (static_cast<int>(threadIdx.x) + i * kThreads), cols);
}

// `kept` holds the row, each channel written by the thread that takes it; `squares` is the sum of
// that thread's squares.
template <int kThreads, bool kWhole>
V4I_DEVICE void normalise(const NormedRow& r, float* kept, float squares, float* warp_sums,
                          const float4 (&ahead)[kGainsAhead]) {
  const float sum = sum_of_threads<kThreads>(squares, warp_sums);
  const float scale = 1.0f / sqrtf(sum / static_cast<float>(r.cols) + r.eps);
  const bool fits = fits_warp(r.block);
  const auto finish = [&](int at, float4 gain) {
    const float4 x = load4<kWhole>(kept, at, r.cols);
    float4 y = make_float4(gain.x * (x.x * scale), gain.y * (x.y * scale), gain.z * (x.z * scale),
                           gain.w * (x.w * scale));
    y = rounded4(y, r.native);
    if (r.y != nullptr) store4<kWhole>(r.y, at, r.cols, y);
    if (r.yq == nullptr) return;
    if (fits)
      store4<kWhole>(r.yq, at, r.cols, quantised4(y, r.block));
    else
      keep4<kWhole>(kept, at, r.cols, y);
  };
  int at = 4 * static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kGainsAhead; ++i, at += 4 * kThreads)
    if (at - 4 * lane() < r.cols) finish(at, ahead[i]);  // whole warps
  for (; at - 4 * lane() < r.cols; at += 4 * kThreads)
    finish(at, load4<kWhole>(r.gain, at, r.cols));
  if (r.yq == nullptr || fits) return;
  named_barrier(1, kThreads);
  for (int b = warp(); b * r.block < r.cols; b += kThreads / 32)
    quantise_block(kept, r.yq, r.cols, r.block, b);
}

// Where a row is kept: in shared memory, or where its result goes.
V4I_DEVICE float* kept_row(float* shared, float* y, int cols) {
  return cols <= kKeptChannels ? shared : y;
}

}  // namespace v4i::kernels::cuda
