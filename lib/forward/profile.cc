// What a run costs besides time: weights, KV rows, products.  See profile.h.
#include "lib/forward/profile.h"

#include <algorithm>

#include "lib/forward/pass.h"

namespace v4i::forward {

namespace {

std::uint64_t u64(std::int64_t n) { return static_cast<std::uint64_t>(n); }

// Tokens that see more rows than the indexer keeps; only they use its weights.
std::int64_t choosing_tokens(const Pass& p) {
  std::int64_t ratio = 0, n = 0;
  for (const model::LayerPlan& plan : p.model.plan().layers)
    if (plan.indexer) ratio = plan.ratio;
  if (ratio == 0) return 0;
  for (const Token& t : p.tokens) n += (t.position + 1) / ratio > p.config.index_topk ? 1 : 0;
  return n;
}

void add_weights(const Pass& p, std::uint64_t experts, std::int64_t head_rows,
                 Profile::Totals* out) {
  const auto costs = model::token_costs(p.model);
  const model::Cost expert = model::expert_cost(p.model);
  for (int i = 0; i < model::kPartCount; ++i) {
    const auto part = static_cast<model::Part>(i);
    const std::int64_t users = part == model::Part::kHead      ? head_rows
                               : part == model::Part::kIndexer ? choosing_tokens(p)
                                                               : p.n();
    const std::int64_t reads = part == model::Part::kEmbedding ? p.n() : users > 0 ? 1 : 0;
    out->flops[part] += costs[part].flops * u64(users);
    if (part != model::Part::kRouted) out->bytes[part] += costs[part].bytes * u64(reads);
  }
  out->bytes[model::Part::kRouted] += experts * expert.bytes;
}

// One token in one layer; `reads` says whether its rows count as read from memory.
void add_rows(const Pass& p, const model::LayerPlan& plan, const Token& token, bool reads,
              Profile::Totals* out) {
  const model::Config& c = p.config;
  const kv::Layout& layout = p.state(token).layout();
  const std::int64_t visible = plan.ratio == 0 ? 0 : (token.position + 1) / plan.ratio;
  const bool choose = plan.indexer && visible > c.index_topk;
  const std::int64_t rows =
      std::min(token.position + 1, c.window) + (choose ? c.index_topk : visible);
  out->flops[model::Part::kRows] += u64(4 * rows * c.heads * c.head_dim);
  if (choose) out->flops[model::Part::kIndexer] += u64(2 * visible * c.index_heads * c.index_dim);
  if (!reads) return;
  out->bytes[model::Part::kRows] += u64(rows) * layout.row.bytes();
  if (choose) out->bytes[model::Part::kIndexer] += u64(visible) * layout.key.bytes();
}

}  // namespace

void Profile::begin() {
  ns_ = {};
  experts_ = 0;
  last_ = Clock::now();
}

void Profile::mark(model::Part part) {
  const auto now = Clock::now();
  ns_[part] += static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_).count());
  last_ = now;
}

void Profile::end(const Pass& p, std::int64_t head_rows) {
  mark(model::Part::kOther);
  Totals& to = p.n() == static_cast<std::int64_t>(p.items.size()) ? decode_ : prefill_;
  to.runs += 1;
  to.tokens += u64(p.n());
  to.experts += experts_;
  for (int i = 0; i < model::kPartCount; ++i)
    to.ns.values[static_cast<std::size_t>(i)] += ns_.values[static_cast<std::size_t>(i)];
  add_weights(p, experts_, head_rows, &to);
  for (const model::LayerPlan& plan : p.model.plan().layers)
    for (std::int64_t t = 0; t < p.n(); ++t) {
      const Token& token = p.tokens[static_cast<std::size_t>(t)];
      const bool last =
          t + 1 == p.n() || p.tokens[static_cast<std::size_t>(t + 1)].item != token.item;
      add_rows(p, plan, token, last, &to);
    }
}

void Profile::add(const Profile& other) {
  const auto add_totals = [](Totals* to, const Totals& from) {
    to->runs += from.runs;
    to->tokens += from.tokens;
    to->experts += from.experts;
    for (std::size_t i = 0; i < model::kPartCount; ++i) {
      to->ns.values[i] += from.ns.values[i];
      to->bytes.values[i] += from.bytes.values[i];
      to->flops.values[i] += from.flops.values[i];
    }
  };
  add_totals(&decode_, other.decode_);
  add_totals(&prefill_, other.prefill_);
}

}  // namespace v4i::forward
