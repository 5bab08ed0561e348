// How large every intermediate is; see workspace.h.
#include "lib/forward/cpu/workspace.h"

#include <algorithm>
#include <numeric>

#include "kernels/kernels.h"

namespace v4i::forward::cpu {

namespace {

// The most compressed rows a query of any layer attends to.
std::int64_t most_rows(const model::Config& c, const kv::Layout& layout) {
  std::int64_t most = 0;
  for (const kv::LayerLayout& l : layout.layers) {
    if (l.ratio == 0) continue;
    const std::int64_t all = c.max_positions / l.ratio + 1;
    most = std::max(most, l.index_keys ? std::min(all, c.index_topk) : all);
  }
  return most;
}

// Floats of a token's n-gram rows.
std::int64_t engram_width(const model::Config& c) {
  if (c.engram.layers.empty()) return 0;
  return (c.engram.max_ngram - 1) * c.engram.heads * c.engram.head_dim;
}

// Floats of a token's taps, and the columns of DSpark's confidence.
std::int64_t taps_width(const model::Config& c) {
  return c.dspark_block_size > 0 ? std::ssize(c.dspark_target_layers) * c.width : 0;
}
std::int64_t dspark_width(const model::Config& c) {
  return c.dspark_block_size > 0 ? c.width + c.dspark_markov_rank : 0;
}

std::int64_t most_partial(const kv::Layout& layout) {
  std::size_t most = 0;
  for (const kv::LayerLayout& l : layout.layers) most = std::max(most, l.partial_floats());
  return static_cast<std::int64_t>(most);
}

// Columns of the widest matrix that is not float32.
std::int64_t widest_words(const model::Config& c) {
  return std::max({c.width, c.heads * c.head_dim / c.o_groups, c.o_groups * c.o_lora, c.q_lora,
                   c.expert_width, c.head_dim, engram_width(c), taps_width(c), dspark_width(c)});
}

}  // namespace

std::int64_t index_unit(const model::Config& c, std::int64_t rows_per_block) {
  return c.candidate_blocks > 0 ? std::lcm(rows_per_block, c.candidate_block_rows) : rows_per_block;
}

std::int64_t index_piece(const model::Config& c, std::int64_t rows_per_block) {
  const std::int64_t unit = index_unit(c, rows_per_block);
  return std::max<std::int64_t>(1, Workspace::kIndexKeys / unit) * unit;
}

std::int64_t gate_rows(const model::Config& c) { return std::lcm<std::int64_t>(128, c.fp8_block); }

std::int64_t expert_piece_rows(const model::Config& c) {
  return std::max<std::int64_t>(1024, gate_rows(c));
}

Workspace::Workspace(const model::Config& c, const kv::Layout& layout, std::int64_t n,
                     int thread_count, Budget* budget)
    : max_tokens(n),
      max_candidates(c.window + std::max(most_rows(c, layout), c.dspark_block_size)) {
  const auto take = [&]<class T>(Buffer<T>& b, std::int64_t count) {
    const auto size = static_cast<std::size_t>(count);
    if (budget != nullptr) b = Buffer<T>(*budget, size, Use::kScratch, "the workspace");
    bytes_ += size * sizeof(T);
  };
  const std::int64_t streams_width = c.hc_mult * c.width, heads_width = c.heads * c.head_dim;
  const std::int64_t slots = n * std::max(c.experts_active, c.draft_experts_active);
  const std::int64_t experts = std::max(c.experts, c.draft_experts);
  take(streams, n * streams_width);
  for (auto* b : {&x, &xq, &out, &head_x}) take(*b, n * c.width);
  take(mix, n * (2 + c.hc_mult) * c.hc_mult);
  take(post, n * c.hc_mult);
  take(pre, n * c.hc_mult);
  take(comb, n * c.hc_mult * c.hc_mult);
  for (auto* b : {&rope_a, &rope_b}) take(*b, n * c.rope_dim);
  for (auto* b : {&qr, &qrq}) take(*b, n * c.q_lora);
  const std::int64_t gate_rows = slots + (c.shared_experts > 0 ? n : 0);
  const std::int64_t engram = c.engram.layers.empty() ? 0 : streams_width + c.width;
  take(wide, std::max({n * heads_width, gate_rows * c.expert_width, n * engram, n * taps_width(c),
                       dspark_width(c)}));
  take(kv, n * c.head_dim);
  take(rows, n * static_cast<std::int64_t>(layout.window_row.bytes()));
  take(gates, engram > 0 ? n * c.hc_mult : 0);
  for (auto* b : {&z, &zq}) take(*b, n * std::max(c.o_groups * c.o_lora, engram_width(c)));
  take(partial, n * most_partial(layout));
  take(pooled, n * (c.head_dim + c.index_dim));
  take(iq, n * c.index_heads * c.index_dim);
  take(iw, n * c.index_heads);
  take(selected, n * c.index_topk);
  take(blocks, n * c.candidate_blocks);
  take(block_count, c.candidate_blocks > 0 ? n : 0);
  take(router, n * experts);
  take(expert, slots);
  take(expert_weight, slots);
  take(slot_token, slots);
  take(slot_weight, slots);
  take(expert_begin, experts + 1);
  take(active, experts);
  take(guess, kGuessTokens * c.experts_active);
  take(prepared, std::max(kernels::linear_prepared_bytes(widest_words(c), n),
                          kernels::linear_prepared_bytes(c.expert_width, gate_rows)));
  take(head_logits, kHeadTokens * c.vocab);

  const std::int64_t keys = index_piece(c, layout.rows_per_block);
  const std::int64_t least_block =
      c.candidate_blocks > 0 ? std::gcd<std::int64_t>(c.candidate_block_rows, layout.rows_per_block)
                             : layout.rows_per_block;
  threads.resize(static_cast<std::size_t>(thread_count));
  for (ThreadScratch& t : threads) {
    take(t.linear, kernels::linear_scratch_floats(std::max(streams_width, widest_words(c))));
    take(t.attention, kernels::attention_scratch_floats(c.head_dim, max_candidates, c.heads));
    take(t.rows, max_candidates);
    take(t.index, kernels::index_scratch_floats(c.index_dim, c.index_heads, kIndexQueries));
    take(t.blocks, keys / least_block + 1);
    take(t.scores, kIndexQueries * keys);
    take(t.candidates, kIndexQueries * TopK::room_for(c.index_topk));
    if (c.candidate_blocks > 0)
      take(t.block_candidates, kIndexQueries * TopK::room_for(c.candidate_blocks));
    take(t.part, n * expert_piece_rows(c));
  }
}

}  // namespace v4i::forward::cpu
