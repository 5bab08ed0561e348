// What a sublayer found goes back into the residual streams: four channels of one token.
#pragma once

#include "kernels/cuda/found.cuh"
#include "kernels/cuda/streams.h"
#include "kernels/cuda/vector.cuh"

namespace v4i::kernels::cuda {

// Channels at to at + 3 of the `count` streams of a token, one stream `width` floats behind the
// other.  kMost: count, or more.
template <bool kWhole, int kMost>
V4I_DEVICE void load_streams(const float* streams, int count, int width, int at,
                             float4 (&out)[kMost]) {
#pragma unroll
  for (int j = 0; j < kMost; ++j)
    if (j < count) out[j] = load4<kWhole>(streams + int64_t{j} * width, at, width);
}

// The two matrices of a token's mix.  For kMost = 4 streams, all four, they are in registers.
template <int kMost>
struct Mix {
  const float *p, *c;
  int count;
  V4I_DEVICE Mix(const SublayerResult& r, int64_t t, int n)
      : p(r.post + t * n), c(r.comb + t * n * n), count(n) {}
  V4I_DEVICE float post(int k) const { return p[k]; }
  V4I_DEVICE float comb(int j, int k) const { return c[j * count + k]; }
};

template <>
struct Mix<4> {
  float4 p, c[4];
  V4I_DEVICE Mix(const SublayerResult& r, int64_t t, int) : p(load4<true>(r.post + t * 4, 0, 4)) {
#pragma unroll
    for (int j = 0; j < 4; ++j) c[j] = load4<true>(r.comb + t * 16, 4 * j, 16);
  }
  static V4I_DEVICE float part(const float4& v, int k) {
    return k == 0 ? v.x : k == 1 ? v.y : k == 2 ? v.z : v.w;
  }
  V4I_DEVICE float post(int k) const { return part(p, k); }
  V4I_DEVICE float comb(int j, int k) const { return part(c[j], k); }
};

template <bool kWhole>
V4I_DEVICE float4 result4(const SublayerResult& r, int64_t t, int at, int width, bool native) {
  if (r.out != nullptr) return load4<kWhole>(r.out + t * width, at, width);
  return found4<kWhole>(r.found, t, at, width, native);
}

// emit(k, new channels of stream k) for all k; streams are as load_streams() left them.
template <int kMost, class Emit>
V4I_DEVICE void mix_back(const Mix<kMost>& mix, const float4 (&streams)[kMost], int count,
                         float4 out, bool native, Emit emit) {
#pragma unroll
  for (int k = 0; k < kMost; ++k) {
    if (k >= count) break;
    float4 sum = scaled4(mix.comb(0, k), streams[0]);
#pragma unroll
    for (int j = 1; j < kMost; ++j)
      if (j < count) sum = fma4(mix.comb(j, k), streams[j], sum);
    emit(k, rounded4(fma4(mix.post(k), out, sum), native));
  }
}

}  // namespace v4i::kernels::cuda
