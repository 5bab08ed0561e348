// What a run costs besides time: weights, KV rows, products.  See profile.h.
#include "lib/forward/profile.h"

#include <algorithm>

namespace v4i::forward {

namespace {

std::uint64_t u64(std::int64_t n) { return static_cast<std::uint64_t>(n); }

// Tokens that see more rows than the indexer keeps; only they use its weights.
std::int64_t choosing_tokens(const Profile::Run& p) {
  std::int64_t ratio = 0, n = 0;
  for (const model::LayerPlan& plan : p.model.plan().layers)
    if (plan.indexer) ratio = plan.ratio;
  if (ratio == 0) return 0;
  for (const Token& t : p.all.tokens())
    n += (t.position + 1) / ratio > p.model.config().index_topk ? 1 : 0;
  return n;
}

// The last layer computes the tokens with outputs alone: `n` tokens of a cost that is summed over
// all layers count as a little less.  (Its KV rows, a few percent of a layer, are not counted.)
std::int64_t less_last_layer(const Profile::Run& p, std::int64_t n, std::uint64_t flops) {
  const std::int64_t layers = p.model.config().layers;
  const std::int64_t skipped = p.all.n() - p.outputs.n();
  return static_cast<std::int64_t>(flops) * n -
         static_cast<std::int64_t>(flops) / layers * std::min(skipped, n);
}

void add_weights(const Profile::Run& p, std::uint64_t experts, std::int64_t head_rows,
                 Profile::Totals* out) {
  const auto costs = model::token_costs(p.model);
  const std::int64_t n = p.all.n();
  const model::Cost expert = model::expert_cost(p.model);
  for (int i = 0; i < model::kPartCount; ++i) {
    const auto part = static_cast<model::Part>(i);
    const std::int64_t users = part == model::Part::kHead      ? head_rows
                               : part == model::Part::kIndexer ? choosing_tokens(p)
                                                               : n;
    const std::int64_t reads = part == model::Part::kEmbedding ? n : users > 0 ? 1 : 0;
    const bool of_layers = part != model::Part::kHead && part != model::Part::kEmbedding &&
                           part != model::Part::kCompressor;
    out->flops[part] += of_layers ? u64(less_last_layer(p, users, costs[part].flops))
                                  : costs[part].flops * u64(users);
    if (part != model::Part::kRouted) out->bytes[part] += costs[part].bytes * u64(reads);
  }
  out->bytes[model::Part::kRouted] += experts * expert.bytes;
}

// One position in one layer; `reads` says whether its rows count as read from memory.
void add_rows(const model::Config& c, const model::LayerPlan& plan, const kv::Layout& layout,
              std::int64_t position, bool reads, Profile::Totals* out) {
  const std::int64_t visible = plan.ratio == 0 ? 0 : (position + 1) / plan.ratio;
  const bool choose = plan.indexer && visible > c.index_topk;
  const std::int64_t rows = std::min(position + 1, c.window) + (choose ? c.index_topk : visible);
  out->flops[model::Part::kRows] += u64(4 * rows * c.heads * c.head_dim);
  if (choose) out->flops[model::Part::kIndexer] += u64(2 * visible * c.index_heads * c.index_dim);
  if (!reads) return;
  out->bytes[model::Part::kRows] += u64(rows) * layout.main_row.bytes();
  if (choose) out->bytes[model::Part::kIndexer] += u64(visible) * layout.key.bytes();
}

}  // namespace

void Profile::begin(std::uint64_t busy_ns) {
  busy_ = busy_ns;
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

void Profile::move(model::Part from, model::Part to, std::int64_t ns) {
  const std::uint64_t moved = std::min(ns_[from], u64(ns));
  ns_[from] -= moved;
  ns_[to] += moved;
}

void Profile::end(const Run& p) {
  mark(model::Part::kOther);
  const std::int64_t n = p.all.n();
  Totals& to = n == static_cast<std::int64_t>(p.all.items().size()) ? decode_ : prefill_;
  to.runs += 1;
  to.tokens += u64(n);
  to.experts += experts_;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < model::kPartCount; ++i) {
    to.ns.values[i] += ns_.values[i];
    total += ns_.values[i];
  }
  const std::uint64_t busy = (p.busy_ns - busy_) / u64(p.threads);
  to.idle_ns += total - std::min(total, busy);
  add_weights(p, experts_, p.head_rows, &to);
  const auto& layers = p.model.plan().layers;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const Batch& tokens = l + 1 == layers.size() ? p.outputs : p.all;
    for (const Token& t : tokens.tokens()) {
      const Item& item = p.all.items()[static_cast<std::size_t>(t.item)];
      const bool last =
          t.position - p.all.start(t) + 1 == static_cast<std::int64_t>(item.tokens.size());
      add_rows(p.model.config(), layers[l], item.state->layout(), t.position, last, &to);
    }
  }
}

void Profile::add(const Profile& other) {
  const auto add_totals = [](Totals* to, const Totals& from) {
    to->runs += from.runs;
    to->tokens += from.tokens;
    to->experts += from.experts;
    to->idle_ns += from.idle_ns;
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
