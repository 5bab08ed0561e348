// v4i_streams_collapse of streams.h: a block takes one token, from the sums of v4i_streams_mix to
// the normed input of a sublayer.  Its last warp makes post and comb while the others collapse.
#include "kernels/cuda/mix_back.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/sinkhorn.cuh"

namespace v4i::kernels::cuda {

namespace {

constexpr int kMixer = kCollapseThreads / 32;  // the warp of post and comb

V4I_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Shared memory of the block.
struct Shared {
  float *sum, *base;  // [mixes + 1] of v4i_streams_mix, times scale; [mixes]
  float *pre, *warp_sums, *matrix, *row;
  V4I_DEVICE Shared() {
    sum = reinterpret_cast<float*>(shared_memory());
    base = sum + kMostMixes + 16;
    pre = base + kMostMixes + 16;
    warp_sums = pre + kMostStreams;
    matrix = warp_sums + 32;
    row = matrix + kMostStreams * kMostStreams;
  }
  // Of the sigmoids and Sinkhorn: (fn f) r scale + base.
  V4I_DEVICE float logit(int m, float r) const { return fmaf(sum[m], r, base[m]); }
};

// Adds up the ranges' sums: eight lanes take one, then fold.
V4I_DEVICE void add_ranges(const StreamsCollapseArgs& a, const Shared& s) {
  const int ranges = (a.width + kMixChannels - 1) / kMixChannels, sums = a.mixes + 1;
  const int eighth = lane() % 8, lanes = static_cast<int>(threadIdx.x) / 8;
  const float* partial = a.partial + int64_t{blockIdx.x} * ranges * sums;
  for (int first = 0; first < sums; first += (kCollapseThreads + 32) / 8) {
    const int m = first + lanes;
    float sum = 0, scale = 1, base = 0;
    if (m < sums) {
      if (m < a.mixes) {
        scale = a.scale[m < a.count ? 0 : m < 2 * a.count ? 1 : 2];
        base = a.base[m];
      }
#pragma unroll 4
      for (int r = eighth; r < ranges; r += 8) sum += partial[int64_t{r} * sums + m];
    }
#pragma unroll
    for (int mask = 4; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    if (m >= sums || eighth != 0) continue;
    s.sum[m] = sum * scale;
    if (m < a.mixes) s.base[m] = base;
  }
}

// By the mixer warp: post and comb of token t.
template <int kCount>
V4I_DEVICE void write_mix(const StreamsCollapseArgs& a, const Shared& s, int64_t t, int count,
                          float r) {
  const int i = lane();
  if (i < count) a.post[t * count + i] = 2.0f * sigmoid(s.logit(count + i, r));
  float* comb = a.comb + t * count * count;
  if constexpr (kCount == 4) {
    sinkhorn4(s.logit(8 + i % 16, r), a.iterations, a.hc_eps, s.matrix, comb);
  } else {
    for (int k = i; k < count * count; k += 32) s.matrix[k] = s.logit(2 * count + k, r);
    sinkhorn(s.matrix, count, a.iterations, a.hc_eps, comb);
  }
}

// sum_k pre[k] streams[k], k rising; four streams that were loaded, or any number that are not.
V4I_DEVICE float4 collapsed(const float4 (&streams)[4], const float* pre) {
  float4 sum = scaled4(pre[0], streams[0]);
#pragma unroll
  for (int k = 1; k < 4; ++k) sum = fma4(pre[k], streams[k], sum);
  return sum;
}
template <bool kWhole>
V4I_DEVICE float4 collapsed(const float* streams, int count, int width, int at, const float* pre) {
  float4 sum = scaled4(pre[0], load4<kWhole>(streams, at, width));
  for (int k = 1; k < count; ++k)
    sum = fma4(pre[k], load4<kWhole>(streams + int64_t{k} * width, at, width), sum);
  return sum;
}

// kCount: 4 streams and whole rows, or 0: any.  kAhead: what a thread loads before anything else,
// each four channels of all streams; it does not change the result.
template <int kCount, int kAhead>
V4I_DEVICE void collapse_token(const StreamsCollapseArgs& a) {
  constexpr bool kWhole = kCount == 4;
  constexpr int kStep = 4 * kCollapseThreads;
  const int count = kCount != 0 ? kCount : a.count, first = 4 * static_cast<int>(threadIdx.x);
  const int64_t i = blockIdx.x, t = a.row != nullptr ? a.row[i] : i;
  const float* streams = a.streams + t * count * a.width;
  const bool mixer = warp() == kMixer, native = a.native != 0;
  const Shared s;
  float4 ahead[2][4], gains[kGainsAhead];
#pragma unroll
  for (int g = 0; g < kAhead; ++g)
    if (!mixer) load_streams<kWhole>(streams, count, a.width, first + g * kStep, ahead[g]);
  load_gains<kCollapseThreads, kWhole>(a.gain, a.width, gains);
  add_ranges(a, s);
  __syncthreads();
  const float elements = static_cast<float>(int64_t{count} * a.width);
  const float r = 1.0f / sqrtf(s.sum[a.mixes] / elements + a.norm_eps);
  if (mixer) {
    if (a.post != nullptr) write_mix<kCount>(a, s, t, count, r);
    return;
  }
  if (static_cast<int>(threadIdx.x) < count)
    s.pre[threadIdx.x] = sigmoid(s.logit(static_cast<int>(threadIdx.x), r)) + a.hc_eps;
  named_barrier(1, kCollapseThreads);
  float* x = a.x + i * a.width;
  float* kept = kept_row(s.row, x, a.width);
  float squares = 0;
  const auto keep = [&](int at, float4 v) {
    v = rounded4(v, native);
    squares = dot4(v, v, squares);
    keep4<kWhole>(kept, at, a.width, v);
  };
#pragma unroll
  for (int g = 0; g < kAhead; ++g) keep(first + g * kStep, collapsed(ahead[g], s.pre));
  for (int at = first + kAhead * kStep; at < a.width; at += kStep)
    keep(at, collapsed<kWhole>(streams, count, a.width, at, s.pre));
  float* xq = a.xq != nullptr ? a.xq + i * a.width : nullptr;
  normalise<kCollapseThreads, kWhole>(
      {a.gain, x, xq, a.width, a.quantise_block, a.norm_eps, native}, kept, squares, s.warp_sums,
      gains);
}

}  // namespace

V4I_KERNEL(v4i_streams_collapse, StreamsCollapseArgs, kCollapseThreads + 32, 1) {
  collapse_token<4, 2>(a);
}

// Two blocks of a multiprocessor, one loads while the other computes.
V4I_KERNEL(v4i_streams_collapse_many, StreamsCollapseArgs, kCollapseThreads + 32, 2) {
  collapse_token<4, 0>(a);
}

V4I_KERNEL(v4i_streams_collapse_any, StreamsCollapseArgs, kCollapseThreads + 32, 2) {
  collapse_token<0, 0>(a);
}

}  // namespace v4i::kernels::cuda
