// The indexer of CSA layers: scores of query tokens against the stored index keys.  Spec 2.6; the
// definition is lib/forward/cpu/indexer.cc.  The selection by score is in select.h.
//
// A token that sees no more rows than topk reads all of them: nothing is computed for it.
//
// All pointers to arrays over tokens start at the first token of the launch, so a long run is done
// in pieces (scores take 4 bytes a token and row) by advancing them.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/types.h"
#include "kernels/formats.h"  // V4I_EVERYWHERE

namespace v4i::kernels::cuda {

struct IndexShape {
  std::int32_t dim = 0, heads = 0;
  std::int32_t rope = 0;   // rotary channels, the last of a head
  std::int32_t ratio = 0;  // tokens of a compressed row
  std::int32_t topk = 0;
  std::int32_t native = 0;  // keys packed (pack_key), roundings as trained; else all float32
};

V4I_EVERYWHERE constexpr std::int32_t padded_heads(const IndexShape& s) {
  return (s.heads + 15) / 16 * 16;
}

// Whether keys are multiplied on tensor cores.  The queries are then kept as bf16 in the order in
// which v4i_index_scores reads them (index_query.cuh), heads padded to a multiple of 16.
V4I_EVERYWHERE constexpr bool index_uses_mma(const IndexShape& s) {
  return s.native != 0 && s.dim == 128 && s.heads <= 128;
}

// Of a token's query: all heads, then their weights.  A multiple of 16.
V4I_EVERYWHERE constexpr std::int64_t index_query_bytes(const IndexShape& s) {
  if (index_uses_mma(s)) return std::int64_t{padded_heads(s)} * (s.dim + 1) * 2;
  return (std::int64_t{s.heads} * (s.dim + 1) * 4 + 15) / 16 * 16;
}

struct IndexHeadsArgs {
  IndexShape shape;
  std::int32_t tokens = 0;
  float weight_scale = 0;          // float32(1 / sqrt(dim) / sqrt(heads)), divided in double
  const Token* token = nullptr;    // [tokens]
  const float* q = nullptr;        // [tokens, heads, dim]
  const float* weight = nullptr;   // [tokens, heads]
  const float* cos_sin = nullptr;  // [tokens, rope]: cosines, then sines of the token's position
  std::uint8_t* query = nullptr;   // [tokens, index_query_bytes], aligned to 16
};

struct IndexScoresArgs {
  IndexShape shape;
  std::int32_t tokens = 0;
  const Token* token = nullptr;         // [tokens]
  const std::uint8_t* query = nullptr;  // [tokens, index_query_bytes], from v4i_index_heads
  BlockTable keys;
  float* score = nullptr;  // [tokens, score_stride]; of a token, the rows it sees are written
  std::int64_t score_stride = 0;  // at least the rows that any token sees
};

constexpr int kIndexHeadsAtOnce = 8;  // heads of a block of v4i_index_heads, one a warp
constexpr int kIndexGroup = 8;        // tokens that share decoded keys
constexpr int kIndexTile = 256;       // keys of a block at a time: 32 a warp
constexpr std::size_t kIndexGroupBytes = 96;
constexpr int kFloatIndexTile = 32;  // keys of a block of v4i_index_scores_float

inline Launch launch_index_heads(const IndexHeadsArgs& a) {
  return {a.tokens > 0 ? "v4i_index_heads" : nullptr,
          static_cast<std::uint32_t>(a.tokens),
          static_cast<std::uint32_t>(padded_heads(a.shape) / kIndexHeadsAtOnce),
          1,
          kIndexHeadsAtOnce * 32,
          static_cast<std::size_t>(kIndexHeadsAtOnce) * static_cast<std::size_t>(a.shape.dim) *
              sizeof(float)};
}

// `max_rows`: the most rows that a token of the launch, or of any later one that is made from the
// same graph, sees.  `processors` of the device decides how the keys are spread over blocks.
inline Launch launch_index_scores(const IndexScoresArgs& a, std::int64_t max_rows, int processors) {
  if (a.tokens <= 0 || max_rows <= a.shape.topk) return {};
  const auto row = static_cast<std::size_t>(a.shape.dim) * sizeof(float);
  if (!index_uses_mma(a.shape)) {
    const std::int64_t tiles = divide_up<std::int64_t>(max_rows, kFloatIndexTile);
    return {"v4i_index_scores_float",
            static_cast<std::uint32_t>(a.tokens),
            static_cast<std::uint32_t>(tiles),
            1,
            256,
            (kFloatIndexTile * (row + sizeof(float))) + kFloatIndexTile * 9 * sizeof(float)};
  }
  const auto groups = static_cast<std::int64_t>(divide_up(a.tokens, kIndexGroup));
  const std::int64_t most = divide_up<std::int64_t>(max_rows, kIndexTile) *
                            (a.tokens < kIndexGroup ? a.tokens : kIndexGroup);
  // Two blocks run on a multiprocessor at a time; with several groups, some more to even them out.
  const std::int64_t wanted =
      groups == 1 ? 2 * processors : divide_up<std::int64_t>(8 * processors, groups);
  return {"v4i_index_scores",
          static_cast<std::uint32_t>(wanted < most ? wanted : most),
          static_cast<std::uint32_t>(groups),
          1,
          kIndexTile,
          kIndexGroupBytes + 2 * static_cast<std::size_t>(index_query_bytes(a.shape))};
}

}  // namespace v4i::kernels::cuda
