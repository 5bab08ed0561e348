// Four channels of a row at a time.  Where rows are `whole`, their width is a multiple of 4 and
// they start at a multiple of 16 bytes: a thread loads and stores 16 bytes, else one float after
// the other.
#pragma once

#include "kernels/cuda/kernel.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/formats.h"

namespace v4i::kernels::cuda {

V4I_DEVICE float4 all4(float x) { return make_float4(x, x, x, x); }

// Channels at to at + 3; 0 beyond the row.
template <bool kWhole>
V4I_DEVICE float4 load4(const float* row, int at, int width) {
  if (at >= width) return all4(0.0f);
  if constexpr (kWhole) return *reinterpret_cast<const float4*>(row + at);
  return make_float4(row[at], at + 1 < width ? row[at + 1] : 0.0f,
                     at + 2 < width ? row[at + 2] : 0.0f, at + 3 < width ? row[at + 3] : 0.0f);
}

// Those of them that the row has, one by one.
V4I_DEVICE void store_some(float* row, int at, int width, float4 v) {
  row[at] = v.x;
  if (at + 1 < width) row[at + 1] = v.y;
  if (at + 2 < width) row[at + 2] = v.z;
  if (at + 3 < width) row[at + 3] = v.w;
}

// To global memory.  (__stcg, since nvcc takes a plain store of a float4 apart at times.)
template <bool kWhole>
V4I_DEVICE void store4(float* row, int at, int width, float4 v) {
  if (at >= width) return;
  if constexpr (kWhole)
    __stcg(reinterpret_cast<float4*>(row + at), v);
  else
    store_some(row, at, width, v);
}

// To shared or global memory.
template <bool kWhole>
V4I_DEVICE void keep4(float* row, int at, int width, float4 v) {
  if (at >= width) return;
  if constexpr (kWhole)
    *reinterpret_cast<float4*>(row + at) = v;
  else
    store_some(row, at, width, v);
}

V4I_DEVICE float4 rounded4(float4 v, bool native) {
  return make_float4(native ? round_bf16(v.x) : v.x, native ? round_bf16(v.y) : v.y,
                     native ? round_bf16(v.z) : v.z, native ? round_bf16(v.w) : v.w);
}

V4I_DEVICE float4 add4(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

V4I_DEVICE float4 scaled4(float a, float4 v) {
  return make_float4(a * v.x, a * v.y, a * v.z, a * v.w);
}

// a v + sum
V4I_DEVICE float4 fma4(float a, float4 v, float4 sum) {
  return make_float4(fmaf(a, v.x, sum.x), fmaf(a, v.y, sum.y), fmaf(a, v.z, sum.z),
                     fmaf(a, v.w, sum.w));
}

// sum + a . b
V4I_DEVICE float dot4(float4 a, float4 b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

V4I_DEVICE float largest4(float4 v) {
  return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

}  // namespace v4i::kernels::cuda
