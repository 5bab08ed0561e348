// How large every intermediate is; see workspace.h.
#include "lib/forward/cuda/workspace.h"

#include <algorithm>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/select.h"
#include "kernels/cuda/streams.h"

namespace v4i::forward::cuda {

namespace {

namespace kc = kernels::cuda;

// The most compressed rows that a token sees in a layer with or without an indexer.
std::int64_t most_rows(const model::Config& c, const kv::Layout& layout, bool index) {
  std::int64_t most = 0;
  for (const kv::LayerLayout& l : layout.layers)
    if (l.ratio > 0 && l.index_keys == index) most = std::max(most, c.max_positions / l.ratio + 1);
  return most;
}

std::int64_t most_partial(const kv::Layout& layout) {
  std::size_t most = 0;
  for (const kv::LayerLayout& l : layout.layers) most = std::max(most, l.partial_floats());
  return static_cast<std::int64_t>(most);
}

// Of attention's partial results, for any number of tokens up to n.
std::int64_t attention_floats(const model::Config& c, const kv::Layout& layout, std::int64_t n) {
  kc::SparseAttentionArgs a;
  a.heads = static_cast<std::int32_t>(c.heads);
  a.dim = static_cast<std::int32_t>(c.head_dim);
  a.rope = static_cast<std::int32_t>(c.rope_dim);
  a.native = 1;
  const std::int64_t rows =
      std::max(most_rows(c, layout, false), std::min(most_rows(c, layout, true), c.index_topk));
  a.max_rows = static_cast<std::int32_t>(c.window + rows);
  std::size_t most = 0;
  for (a.n = 1; a.n <= std::min<std::int64_t>(n, 64); ++a.n)
    most = std::max(most, kc::attention_partial_bytes(a));
  return static_cast<std::int64_t>(most / sizeof(float));
}

kc::IndexShape index_shape(const model::Config& c) {
  kc::IndexShape s;
  s.dim = static_cast<std::int32_t>(c.index_dim);
  s.heads = static_cast<std::int32_t>(c.index_heads);
  return s;
}

std::int64_t query_bytes(const model::Config& c) {
  kc::IndexShape s = index_shape(c);
  const std::int64_t exact = kc::index_query_bytes(s);
  s.native = 1;
  return std::max(exact, kc::index_query_bytes(s));
}

}  // namespace

template <class Take>
void Workspace::all(const model::Config& c, const kv::Layout& layout, std::int64_t n,
                    bool host_experts, Take&& take) {
  const std::int64_t streams = c.hc_mult * c.width, slots = n * c.experts_active;
  for (Tokens* t : {&a, &b}) {
    take(t->streams, n * streams);
    take(t->post, n * c.hc_mult);
    take(t->comb, n * c.hc_mult * c.hc_mult);
    take(t->x, n * c.width);
    take(t->xq, n * c.width);
  }
  const auto hc = static_cast<std::int32_t>(c.hc_mult), d = static_cast<std::int32_t>(c.width);
  take(mix, kc::mix_partial_floats(n, hc, d));
  for (auto* r : {&rope_a, &rope_b}) take(*r, n * c.rope_dim);
  for (auto* r : {&qr, &qrq}) take(*r, n * c.q_lora);
  take(q, n * c.heads * c.head_dim);
  take(kv, n * c.head_dim);
  take(rows, n * static_cast<std::int64_t>(layout.window_row.bytes()));
  for (auto* r : {&z, &zq}) take(*r, n * c.o_groups * c.o_lora);
  take(partial, n * most_partial(layout));
  take(attention, attention_floats(c, layout, n));
  take(out, n * c.width);
  take(router, n * c.experts);
  take(expert, slots);
  take(expert_weight, slots);
  take(begin, c.experts + 1);
  take(active, c.experts);
  take(active_count, 1);
  take(slot_token, slots);
  take(token_slot, slots);
  take(slot_weight, slots);
  for (auto* r : {&gate, &up}) take(*r, slots * c.expert_width);
  take(found, slots * c.width);
  if (c.shared_experts > 0) {
    for (auto* r : {&shared_gate, &shared_up}) take(*r, n * c.expert_width);
    take(shared, n * c.width);
  }
  if (host_experts) take(more, n * c.width);
  take(head_x, kHeadTokens * c.width);
  take(head_mix, kc::mix_partial_floats(kHeadTokens, hc, d));
  take(logits, kHeadTokens * c.vocab);
  const std::int64_t seen = most_rows(c, layout, true);
  if (seen == 0) return;
  score_floats = std::max(seen, std::min(n * seen, kScoreBytes / 4));
  candidate_stride = kc::top_rows_candidates(seen, c.index_topk);
  take(iq, n * c.index_heads * c.index_dim);
  take(iw, n * c.index_heads);
  take(query, n * query_bytes(c));
  take(scores, score_floats);
  take(candidate_score, n * candidate_stride);
  take(candidate_row, n * candidate_stride);
  take(selected, n * c.index_topk);
}

std::uint64_t Workspace::bytes(const model::Config& c, const kv::Layout& layout, std::int64_t n,
                               bool host_experts) {
  Workspace none;
  std::uint64_t sum = 0;
  none.all(c, layout, n, host_experts, [&]<class T>(Array<T>&, std::int64_t count) {
    sum += static_cast<std::uint64_t>(count) * sizeof(T);
  });
  return sum;
}

Workspace::Workspace(const model::Config& c, const kv::Layout& layout, std::int64_t n,
                     bool host_experts, std::shared_ptr<Device> device, Budget& budget) {
  all(c, layout, n, host_experts, [&]<class T>(Array<T>& array, std::int64_t count) {
    if (count == 0) return;
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    array.buffer =
        DeviceBuffer(device, budget, Use::kScratch, bytes, "the workspace on the device");
    total += bytes;
  });
}

}  // namespace v4i::forward::cuda
