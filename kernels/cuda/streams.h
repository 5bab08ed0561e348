// The residual streams: what a sublayer found is mixed back into them, and the next sublayer's
// input is made of them.  Spec 2.3; lib/forward/cpu/hyper.cc.
//
// Two launches take the tokens from the result of one sublayer to the input of the next:
// v4i_streams_mix, then v4i_streams_collapse.
//
// The streams of a run's outputs are collapsed by the same two, with `mixes` = count: the final
// fn [count, count * width], no post and comb, and `row`, the tokens that have outputs.
//
// All arrays start at multiples of 16 bytes.
#pragma once

#include <cstdint>

#include "kernels/cuda/found.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_launch.h"

namespace v4i::kernels::cuda {

constexpr int kMostStreams = 16;
constexpr int kMixChannels = 64;  // of a block of v4i_streams_mix, of all streams of a token
constexpr int kMixTokens = 8;     // that such a block takes at a time
constexpr int kMixThreads = 128;

constexpr std::int32_t streams_mixes(std::int32_t count) { return (2 + count) * count; }
constexpr std::int32_t mix_ranges(std::int32_t width) { return divide_up(width, kMixChannels); }
// Of `partial` below, for n tokens.
constexpr std::int64_t mix_partial_floats(std::int64_t n, std::int32_t count, std::int32_t width) {
  return n * mix_ranges(width) * (streams_mixes(count) + 1);
}

// What a sublayer found, and how it is mixed back.  post null: nothing is mixed back.
struct SublayerResult {
  const float* out = nullptr;   // [n, width]; or null: what `found` adds up to
  Found found{};                // saves the launch of v4i_combine; same bits
  const float* post = nullptr;  // [n, count]
  const float* comb = nullptr;  // [n, count, count]
};

// streams[t, k] <- post[t, k] out[t] + sum_j comb[t, j, k] streams[t, j], rounded when native, if
// there is a result.  Then sums over channel ranges, for v4i_streams_collapse:
//   partial[i, range, m] = fn[m] . streams[t],  partial[i, range, mixes] = |streams[t]|^2
// where t = row[i], or i.
struct StreamsMixArgs {
  float* streams = nullptr;  // [.., count, width]
  SublayerResult result{};
  const float* fn = nullptr;          // [mixes, count * width] float32, rows fn_stride floats apart
  std::int64_t fn_stride = 0;         // a multiple of 4
  float* partial = nullptr;           // [n, mix_ranges(width), mixes + 1]
  const std::int32_t* row = nullptr;  // [n], or null; no result then
  std::int32_t n = 0, count = 0, width = 0;
  std::int32_t mixes = 0;  // streams_mixes(count); count: of the outputs
  std::int32_t native = 0;
};

// x[i] = the streams of token t, collapsed to one row and rounded, then its rms_norm with gain,
// rounded.  xq[i] = fp8_sim(x[i]) in blocks of quantise_block.  Writes post[t] and comb[t].
struct StreamsCollapseArgs {
  const float* streams = nullptr;
  const float* partial = nullptr;
  const float* scale = nullptr;  // [3]; [1] of the outputs
  const float* base = nullptr;   // [mixes]
  const float* gain = nullptr;   // [width]
  const std::int32_t* row = nullptr;
  float* post = nullptr;  // [n, count], unless mixes = count
  float* comb = nullptr;  // [n, count, count]
  float* x = nullptr;     // [n, width]
  float* xq = nullptr;    // [n, width]; null: not wanted
  std::int32_t n = 0, count = 0, width = 0, mixes = 0;
  std::int32_t iterations = 0;  // of Sinkhorn
  float norm_eps = 0, hc_eps = 0;
  std::int32_t quantise_block = 0;  // of xq
  std::int32_t native = 0;
};

// Mixes back, no more.
struct StreamsPostArgs {
  float* streams = nullptr;
  SublayerResult result{};
  std::int32_t n = 0, count = 0, width = 0;
  std::int32_t native = 0;
};

// Tokens of a block: enough blocks for a large device first, then fewer reads of fn.
constexpr std::int32_t mix_tokens_of_block(std::int32_t n) {
  return n <= 128 ? kMixTokens : n <= 256 ? 2 * kMixTokens : 4 * kMixTokens;
}

// What the kernels are made for; "any" stands for the others.
constexpr bool four_whole(std::int32_t count, std::int32_t width) {
  return count == 4 && width % 4 == 0;
}

inline Launch launch_streams_mix(const StreamsMixArgs& a) {
  if (a.n == 0) return {};
  Launch l;
  l.kernel = four_whole(a.count, a.width) ? "v4i_streams_mix" : "v4i_streams_mix_any";
  l.x = static_cast<std::uint32_t>(mix_ranges(a.width));
  l.y = static_cast<std::uint32_t>(divide_up(a.n, mix_tokens_of_block(a.n)));
  l.threads = kMixThreads;
  const std::int32_t columns = divide_up(a.count * kMixChannels, 128) * 128;
  l.shared = sizeof(float) * static_cast<std::size_t>(kMixTokens * columns);
  return l;
}

// 512 threads collapse, 32 more make post and comb meanwhile.
constexpr int kCollapseThreads = 512;
constexpr int kMostMixes = streams_mixes(kMostStreams);
// Shared memory of a block, before its row: sums, base, pre, warps' sums, a matrix.
constexpr int kCollapseFloats =
    2 * (kMostMixes + 16) + kMostStreams + 32 + kMostStreams * kMostStreams;

inline Launch launch_streams_collapse(const StreamsCollapseArgs& a) {
  if (a.n == 0) return {};
  Launch l;
  l.kernel = !four_whole(a.count, a.width) ? "v4i_streams_collapse_any"
             : a.n <= 128                  ? "v4i_streams_collapse"
                                           : "v4i_streams_collapse_many";  // the same bits
  l.x = static_cast<std::uint32_t>(a.n);
  l.threads = kCollapseThreads + 32;
  l.shared = sizeof(float) * static_cast<std::size_t>(kCollapseFloats) + row_shared_bytes(a.width);
  return l;
}

inline Launch launch_streams_post(const StreamsPostArgs& a) {
  if (a.n == 0) return {};
  return rows_launch(four_whole(a.count, a.width) ? "v4i_streams_post" : "v4i_streams_post_any",
                     a.n, a.width);
}

}  // namespace v4i::kernels::cuda
