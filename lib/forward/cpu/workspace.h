// Workspace: every intermediate of a forward run, claimed once.
//
// N = max_tokens.  All arrays are float32, row per token, unless said otherwise.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/budget.h"
#include "lib/forward/cpu/topk.h"
#include "lib/kv/layout.h"
#include "lib/model/model.h"

namespace v4i::forward::cpu {

// What one thread needs for itself.
struct ThreadScratch {
  static constexpr int kIndexQueries = 8;  // tokens scored together
  Buffer<float> linear;                    // dequantised weight rows
  Buffer<float> attention;                 // tile of rows, logits
  Buffer<const void*> rows;                // candidate rows of one query
  Buffer<float> index;                     // queries and keys as the indexer's kernel has them
  Buffer<const std::uint8_t*> blocks;      // of index keys
  Buffer<float> scores;                    // [kIndexQueries, a piece of the keys]
  Buffer<std::uint64_t> candidates;        // [kIndexQueries] rooms of a TopK
  Buffer<std::uint64_t> block_candidates;  // the same, of blocks
  TopK best[kIndexQueries], best_blocks[kIndexQueries];
  Buffer<float> part;  // [N, expert_piece_rows] of w3 x or w2 x: some rows of an expert
};

struct Workspace {
  static constexpr std::int64_t kHeadTokens = 8;  // logit rows computed together
  static constexpr std::int64_t kHeadLanes = 16;  // attention heads are split in multiples
  static constexpr std::int64_t kIndexQueries = ThreadScratch::kIndexQueries;
  static constexpr std::int64_t kGuessTokens = 4;   // more use most experts anyway
  static constexpr std::int64_t kIndexKeys = 4096;  // about as many are scored at a time

  // Of runs of `n` tokens by `thread_count` threads.
  Workspace(const model::Config& config, const kv::Layout& layout, std::int64_t n, int thread_count,
            Budget& budget)
      : Workspace(config, layout, n, thread_count, &budget) {}
  std::size_t bytes() const { return bytes_; }
  // What one takes, without taking it.
  static std::size_t bytes_of(const model::Config& config, const kv::Layout& layout, std::int64_t n,
                              int thread_count) {
    return Workspace(config, layout, n, thread_count, nullptr).bytes();
  }

  std::int64_t max_tokens;
  std::int64_t max_candidates;  // rows one query may attend to

  Buffer<float> streams;          // [n, D] a token: the residual streams
  Buffer<float> x, xq, out;       // [D]: module input, quantised, module output
  Buffer<float> mix, post, comb;  // [(2 + n) n], [n], [n, n]
  Buffer<float> pre;              // [n], lagged mHC: what collapses the streams at the next site
  Buffer<float> rope_a, rope_b;   // [rope_dim]: cosines, sines of both tables
  Buffer<float> qr, qrq;          // [q_lora]
  // [H, d] of attention: queries, then what their heads found; or [K, I] of the experts' gates; or
  // [n + 1, D] of Engram: keys and value; or [taps, D] of DSpark.
  Buffer<float> wide;
  Buffer<float> gates;                // [n] of Engram
  Buffer<float> kv;                   // [d]
  Buffer<std::byte> rows;             // stored KV row of each token
  Buffer<float> z, zq;                // [G, o_lora]; of Engram, a token's rows
  Buffer<float> partial;              // [partial_floats of a layer] inputs of its compressors
  Buffer<float> pooled;               // [d + index_dim] compressed rows of this run
  Buffer<float> iq, iw;               // [index_heads, index_dim], [index_heads]
  Buffer<std::int32_t> selected;      // [index_topk] chosen rows, rising
  Buffer<std::int32_t> blocks;        // [candidate_blocks] candidates, rising
  Buffer<std::int32_t> block_count;   // [1] how many of them
  Buffer<float> router;               // [E]
  Buffer<std::int32_t> expert;        // [K] chosen experts of each token
  Buffer<float> expert_weight;        // [K]
  Buffer<std::int32_t> slot_token;    // [N K] tokens grouped by expert
  Buffer<float> slot_weight;          // [N K]
  Buffer<std::int32_t> expert_begin;  // [E + 1] into the slots
  Buffer<std::int32_t> active;        // [E] experts that have tokens, rising
  Buffer<std::int32_t> guess;         // [kGuessTokens K] experts of the next layer
  Buffer<float> head_x;               // [D]
  Buffer<std::byte> prepared;         // the tokens of a product as the kernels want them
  Buffer<float> head_logits;          // [kHeadTokens, V]
  std::vector<ThreadScratch> threads;

 private:
  // Without a budget it only counts.
  Workspace(const model::Config& config, const kv::Layout& layout, std::int64_t n, int thread_count,
            Budget* budget);

  std::size_t bytes_ = 0;
};

// Rows of index keys, scored one after the other, come in multiples of this: whole blocks of the
// KV store, and of candidates.
std::int64_t index_unit(const model::Config& config, std::int64_t rows_per_block);
// ... and so many at a time.
std::int64_t index_piece(const model::Config& config, std::int64_t rows_per_block);
// Rows of an expert in one piece of work, at most.
std::int64_t expert_piece_rows(const model::Config& config);
// Rows of w1 and w3 come in multiples of this: whole blocks of the quantiser behind them.
std::int64_t gate_rows(const model::Config& config);

}  // namespace v4i::forward::cpu
