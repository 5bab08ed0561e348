// Attention of query tokens over their window rows and compressed rows, in one softmax with a
// sink; keys are values.  The result is turned back (inverse rope).  Spec 2.4 and 2.7.
// Definition: kernels/attention.h, kernels/rows.h output_heads.
//
// The candidates of a token at position p, in this order:
//   window rows of positions max(0, p - window + 1) .. p: from the ring of Sequence.fixed when the
//   position lies before the run, else the staged row;
//   of its visible = (p + 1) / ratio compressed rows all, or the topk that `selected` names when
//   there are more than topk.
// They are taken in tiles of 32 rows, and tiles in chunks (attention.cuh): a softmax is merged tile
// by tile within a chunk, then chunk by chunk.  Where a chunk ends depends on the token's own
// number of candidates alone.
//
//   v4i_attention_few    a block: one chunk, 16 heads, one token; partial results
//   v4i_attention_merge  merges the partial results of a token and head
//   v4i_attention_many   a block: all chunks, 16 heads, one token; the same bits as the two above
//   v4i_attention_plain  float32 rows and odd shapes: one head of one token
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/types.h"
#include "kernels/formats.h"

namespace v4i::kernels::cuda {

constexpr std::int32_t kAttentionHeads = 16;      // of a block
constexpr std::int32_t kAttentionTileRows = 32;   // rows dequantised together
constexpr std::int32_t kAttentionChunkRows = 64;  // of the smallest chunk
constexpr std::int32_t kAttentionChunks = 32;     // of a token, at most
constexpr std::int32_t kAttentionSlice = 64;      // channels of a warp
constexpr std::int32_t kAttentionWarps = 8;
constexpr std::size_t kAttentionTableBytes = 1024;  // what the warps of a block share besides
constexpr std::int32_t kAttentionPlainThreads = 128;

struct SparseAttentionArgs {
  const Token* tokens = nullptr;           // [n]
  const Sequence* sequences = nullptr;     // of the run
  const std::uint8_t* rows = nullptr;      // staged window rows of the run, by Token.row
  BlockTable main;                         // compressed rows; used when ratio > 0
  const std::int32_t* selected = nullptr;  // [n, topk]; null: every token attends to all it sees
  const float* q = nullptr;                // [n, heads, dim], bf16 values when native
  const float* sink = nullptr;             // [heads]
  const float* cos_sin = nullptr;          // [n, rope]
  float* out = nullptr;                    // [n, heads, dim]; may be q
  float* partial = nullptr;                // attention_partial_bytes(); aligned to 16
  std::int64_t window_offset = 0;          // of the ring in the fixed state
  std::int32_t n = 0, heads = 0, dim = 0, rope = 0;
  std::int32_t row_bytes = 0;  // of a window row; packed when native, else float32
  std::int32_t window = 0, window_slots = 0;
  std::int32_t ratio = 0, topk = 0;
  // The most candidates a token of the launch can have: window + topk, or window + context / ratio
  // without an indexer.  From kAttentionChunks * kAttentionChunkRows on it makes no difference.
  std::int32_t max_rows = 0;
  float scale = 0;  // of q . k
  std::int32_t native = 0;
};

// Do tensor cores do it?  They take rows in units of 8 channels, at most a slice a warp.
inline bool attention_is_plain(const SparseAttentionArgs& a) {
  return a.native == 0 || a.dim > kAttentionSlice * kAttentionWarps || a.dim % 8 != 0 ||
         a.rope % 8 != 0;
}

// Few tokens are split over blocks by chunks: up to as many as do not fill a device otherwise.
constexpr std::int32_t kAttentionSplitBlocks = 64;
inline bool attention_is_split(const SparseAttentionArgs& a) {
  return !attention_is_plain(a) &&
         a.n * divide_up(a.heads, kAttentionHeads) <= kAttentionSplitBlocks;
}

// Of a token.
V4I_EVERYWHERE constexpr std::int32_t attention_max_chunks(std::int32_t max_rows) {
  const std::int32_t chunks = (max_rows + kAttentionChunkRows - 1) / kAttentionChunkRows;
  return chunks < kAttentionChunks ? chunks : kAttentionChunks;
}

// What SparseAttentionArgs.partial needs: per token, chunk and head `dim` sums; then per token,
// chunk and head the maximum and the total.  0 when the launch is not split.
inline std::size_t attention_partial_bytes(const SparseAttentionArgs& a) {
  if (!attention_is_split(a)) return 0;
  return sizeof(float) * static_cast<std::size_t>(a.n) *
         static_cast<std::size_t>(attention_max_chunks(a.max_rows)) *
         static_cast<std::size_t>(a.heads) * static_cast<std::size_t>(a.dim + 2);
}

inline Launch launch_attention(const SparseAttentionArgs& a) {
  if (a.n == 0) return {};
  const auto n = static_cast<std::uint32_t>(a.n), heads = static_cast<std::uint32_t>(a.heads);
  if (attention_is_plain(a))
    return {"v4i_attention_plain",
            heads,
            n,
            1,
            kAttentionPlainThreads,
            sizeof(float) * static_cast<std::size_t>(2 * a.dim + 4 * kAttentionTileRows)};
  const auto groups = divide_up(heads, static_cast<std::uint32_t>(kAttentionHeads));
  constexpr std::size_t keys = kAttentionWarps * kAttentionTileRows * kAttentionSlice * 2;
  constexpr std::size_t sums = kAttentionWarps * kAttentionHeads * kAttentionTileRows * 4;
  constexpr std::size_t shared = keys + sums + kAttentionTableBytes;
  if (attention_is_split(a)) {
    const auto chunks = static_cast<std::uint32_t>(attention_max_chunks(a.max_rows));
    return {"v4i_attention_few", chunks, groups, n, kAttentionWarps * 32, shared};
  }
  return {"v4i_attention_many", groups, n, 1, kAttentionWarps * 32, shared};
}

// After launch_attention() of the same args; nothing to do when that one was not split.
inline Launch launch_attention_merge(const SparseAttentionArgs& a) {
  if (a.n == 0 || !attention_is_split(a)) return {};
  return {"v4i_attention_merge",
          static_cast<std::uint32_t>(a.heads),
          static_cast<std::uint32_t>(a.n),
          1,
          128,
          0};
}

}  // namespace v4i::kernels::cuda
