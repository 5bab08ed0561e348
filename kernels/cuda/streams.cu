// Kernels of streams.h, but for the collapse.
#include "kernels/cuda/mix_back.cuh"
#include "kernels/cuda/streams.h"

namespace v4i::kernels::cuda {

namespace {

constexpr int kRows = 6;     // of fn, of a warp
constexpr int kTokens = 4;   // whose sums a warp has in registers
constexpr int kChunk = 128;  // columns of a block, four a lane
constexpr int kBlockRows = kRows * kMixThreads / 32;

// Columns of a block: 64 channels of the first stream, of the second and so on.
V4I_DEVICE int chunks_of(int count) { return (count * kMixChannels + kChunk - 1) / kChunk; }

// Row `row` of fn, four columns of this lane; 0 beyond.
template <bool kWhole>
V4I_DEVICE float4 fn4(const StreamsMixArgs& a, int row, int chunk) {
  const int column = chunk * kChunk + 4 * lane(), stream = column / kMixChannels;
  const int channel = static_cast<int>(blockIdx.x) * kMixChannels + column % kMixChannels;
  const bool there = row < a.mixes && stream < a.count;
  return load4<kWhole>(a.fn + row * a.fn_stride + int64_t{stream} * a.width,
                       there ? channel : a.width, a.width);
}

V4I_DEVICE float* partial_of(const StreamsMixArgs& a, int i) {
  return a.partial + (int64_t{i} * gridDim.x + blockIdx.x) * (a.mixes + 1);
}

// Streams of tokens [first, first + n), after the mix, to x [kMixTokens][columns] and where they
// came from; and the sum of their squares.  Sixteen threads take a token.
template <bool kWhole, int kMost>
V4I_DEVICE void mix_tokens(const StreamsMixArgs& a, int first, int n, float* x) {
  const int count = kMost == 4 ? 4 : a.count, columns = chunks_of(count) * kChunk;
  const int token = static_cast<int>(threadIdx.x) / 16, at = static_cast<int>(threadIdx.x) % 16 * 4;
  const int channel = static_cast<int>(blockIdx.x) * kMixChannels + at;
  float squares = 0;
  if (token < n) {
    const int64_t t = a.row != nullptr ? a.row[first + token] : first + token;
    float* streams = a.streams + t * count * a.width;
    float* to = x + token * columns + at;
    const auto keep = [&](int k, float4 v) {
      *reinterpret_cast<float4*>(to + k * kMixChannels) = v;
      squares = dot4(v, v, squares);
    };
    float4 old[kMost];
    load_streams<kWhole>(streams, count, a.width, channel, old);
    if (a.result.post != nullptr) {
      const Mix<kMost> mix(a.result, t, count);
      const float4 out = result4<kWhole>(a.result, t, channel, a.width, a.native != 0);
      mix_back(mix, old, count, out, a.native != 0, [&](int k, float4 v) {
        store4<kWhole>(streams + int64_t{k} * a.width, channel, a.width, v);
        keep(k, v);
      });
    } else {
#pragma unroll
      for (int k = 0; k < kMost; ++k)
        if (k < count) keep(k, old[k]);
    }
    if (count % 2 == 1) *reinterpret_cast<float4*>(to + count * kMixChannels) = all4(0.0f);
  }
#pragma unroll
  for (int lanes = 8; lanes > 0; lanes /= 2) squares += shuffle_xor(squares, lanes);
  if (token < n && at == 0) partial_of(a, first + token)[a.mixes] = squares;
}

// sum[token][row] += w[row] . x[token], over the columns of a chunk.
V4I_DEVICE void add_chunk(const float4 (&w)[kRows], const float* x, int columns, int n,
                          float (&sum)[kTokens * kRows]) {
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t >= n) break;
    const float4 v = *reinterpret_cast<const float4*>(x + t * columns + 4 * lane());
#pragma unroll
    for (int r = 0; r < kRows; ++r) sum[t * kRows + r] = dot4(w[r], v, sum[t * kRows + r]);
  }
}

// Half of the lanes' sums go each way: of 2 kHalf values kHalf are left, those of this lane's half.
template <int kHalf, int kAll>
V4I_DEVICE void halve(float (&sum)[kAll], int mask) {
  const bool high = (lane() & mask) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float give = high ? sum[i] : sum[i + kHalf];
    sum[i] = (high ? sum[i + kHalf] : sum[i]) + shuffle_xor(give, mask);
  }
}

// Adds up over the lanes, in the order of warp_sum, and writes the sums of tokens [i, i + n).
V4I_DEVICE void write_sums(const StreamsMixArgs& a, int i, int n, int row,
                           float (&sum)[kTokens * kRows]) {
  halve<12>(sum, 16);
  halve<6>(sum, 8);
  halve<3>(sum, 4);
#pragma unroll
  for (int v = 0; v < 3; ++v) {
    sum[v] += shuffle_xor(sum[v], 2);
    sum[v] += shuffle_xor(sum[v], 1);
  }
  const int l = lane(), v = l & 3, token = l / 8, r = row + (l / 4 % 2) * 3 + v;
  if (v == 3 || token >= n || r >= a.mixes) return;
  partial_of(a, i + token)[r] = v == 0 ? sum[0] : v == 1 ? sum[1] : sum[2];
}

// Any number of streams: fn is read again for every few tokens, from the first cache.
V4I_DEVICE void multiply_any(const StreamsMixArgs& a, int first, int n, const float* x) {
  const int chunks = chunks_of(a.count), columns = chunks * kChunk;
  for (int row = warp() * kRows; row < a.mixes; row += kBlockRows) {
    for (int t = 0; t < n; t += kTokens) {
      float sum[kTokens * kRows] = {};
      for (int c = 0; c < chunks; ++c) {
        float4 w[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) w[r] = fn4<false>(a, row + r, c);
        add_chunk(w, x + t * columns + c * kChunk, columns, n - t, sum);
      }
      write_sums(a, first + t, n - t, row, sum);
    }
  }
}

// Tokens of this block: [begin, end).
struct Share {
  int begin, end;
  V4I_DEVICE explicit Share(int n) {
    const int blocks = static_cast<int>(gridDim.y);
    const int per = ((n + blocks - 1) / blocks + kMixTokens - 1) / kMixTokens * kMixTokens;
    begin = static_cast<int>(blockIdx.y) * per;
    end = begin + per < n ? begin + per : n;
  }
};

}  // namespace

// Four streams, whole rows: this lane's part of fn stays in registers, loaded before anything else.
V4I_KERNEL(v4i_streams_mix, StreamsMixArgs, kMixThreads, 3) {
  constexpr int kChunks = 2, kColumns = kChunks * kChunk;
  float* x = reinterpret_cast<float*>(shared_memory());
  const Share share(a.n);
  const int row = warp() * kRows;
  float4 w[kChunks][kRows];
#pragma unroll
  for (int c = 0; c < kChunks; ++c)
#pragma unroll
    for (int r = 0; r < kRows; ++r) w[c][r] = fn4<true>(a, row + r, c);
  for (int first = share.begin; first < share.end; first += kMixTokens) {
    const int n = share.end - first < kMixTokens ? share.end - first : kMixTokens;
    mix_tokens<true, 4>(a, first, n, x);
    __syncthreads();
    for (int t = 0; t < n; t += kTokens) {
      float sum[kTokens * kRows] = {};
#pragma unroll
      for (int c = 0; c < kChunks; ++c)
        add_chunk(w[c], x + t * kColumns + c * kChunk, kColumns, n - t, sum);
      write_sums(a, first + t, n - t, row, sum);
    }
    __syncthreads();
  }
}

V4I_KERNEL(v4i_streams_mix_any, StreamsMixArgs, kMixThreads, 1) {
  float* x = reinterpret_cast<float*>(shared_memory());
  const Share share(a.n);
  for (int first = share.begin; first < share.end; first += kMixTokens) {
    const int n = share.end - first < kMixTokens ? share.end - first : kMixTokens;
    mix_tokens<false, kMostStreams>(a, first, n, x);
    __syncthreads();
    multiply_any(a, first, n, x);
    __syncthreads();
  }
}

namespace {

template <bool kWhole, int kMost>
V4I_DEVICE void post_token(const StreamsPostArgs& a) {
  const int64_t t = blockIdx.x;
  const int at = static_cast<int>(blockIdx.y) * kRowChannels + 4 * static_cast<int>(threadIdx.x);
  if (at >= a.width || a.result.post == nullptr) return;
  const int count = kMost == 4 ? 4 : a.count;
  float* streams = a.streams + t * count * a.width;
  float4 old[kMost];
  load_streams<kWhole>(streams, count, a.width, at, old);
  const Mix<kMost> mix(a.result, t, count);
  const float4 out = result4<kWhole>(a.result, t, at, a.width, a.native != 0);
  mix_back(mix, old, count, out, a.native != 0, [&](int k, float4 v) {
    store4<kWhole>(streams + int64_t{k} * a.width, at, a.width, v);
  });
}

}  // namespace

V4I_KERNEL(v4i_streams_post, StreamsPostArgs, kRowThreads, 4) { post_token<true, 4>(a); }

V4I_KERNEL(v4i_streams_post_any, StreamsPostArgs, kRowThreads, 1) {
  post_token<false, kMostStreams>(a);
}

}  // namespace v4i::kernels::cuda
