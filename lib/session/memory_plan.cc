// Adding up what opening and running would take; see memory_plan.h.
#include "lib/session/memory_plan.h"

#include <unistd.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/forward/cpu/backend.h"
#include "lib/forward/layouts.h"
#include "lib/model/parts.h"

namespace v4i::session {

namespace {

// Rows of a token's that are not those of the token before, about (docs/kv-tiers.md).
constexpr double kNewRows = 0.1;

std::uint64_t less(std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); }

std::uint64_t physical_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), size = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || size <= 0) return ~std::uint64_t{0};
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(size);
}

class Planner {
 public:
  Planner(Engine& engine, const PlanOptions& options);
  MemoryPlan run();

 private:
  void count_weights();
  bool fits(std::uint64_t tokens, bool tiered) const;
  std::uint64_t most_tokens(bool tiered) const;
  void place_experts();
  void estimate();
  double rows_in_memory() const;
  SessionNeeds needs(std::uint64_t tokens) const {
    return session_needs(layout_, static_cast<std::uint64_t>(model_->config().vocab), tokens,
                         options_.sessions, options_.open.max_batch_tokens);
  }
  // KV bytes that lie in memory where experts take what is left.
  std::uint64_t kv_held() const {
    return plan_.fits ? plan_.sessions.in_memory() : plan_.sessions.least();
  }

  Engine& engine_;
  const PlanOptions& options_;
  std::shared_ptr<const model::Model> model_;
  kv::Layout layout_;
  std::uint64_t routed_bytes_ = 0;  // of a token
  std::uint64_t most_slots_ = 0;
  std::uint64_t context_max_ = 0, disk_cap_ = 0;
  MemoryPlan plan_;
};

Planner::Planner(Engine& engine, const PlanOptions& options)
    : engine_(engine), options_(options), model_(model::Model::open(options.open.path)) {
  const model::Config& c = model_->config();
  forward::Options o;
  o.numerics = options.open.numerics;
  o.max_tokens = options.open.max_batch_tokens;
  o.rows_per_block = options.open.rows_per_block;
  layout_ = forward::make_layout(c, model_->plan(), o);
  layout_.row_reads = forward::row_reads(c);
  // A device's own name is none of the CPU's.
  const bool device = engine.backend().has_device();
  plan_.workspace = forward::cpu::workspace_bytes(
      *model_, device ? std::string() : engine.backend().identity(), engine.pool().size(), o);
  if (!c.engram.layers.empty())
    plan_.workspace +=
        engram::Tables::needs(c.engram, engram_options(options.open, *model_, engine.budget()));
  const auto hint = static_cast<std::uint64_t>(options.open.context_hint);
  context_max_ = static_cast<std::uint64_t>(c.max_positions);
  if (hint != 0) context_max_ = std::min(context_max_, hint);
  const Budget& budget = engine.budget();
  plan_.cap = budget.cap();
  plan_.free = budget.cap() - std::min(budget.cap(), budget.used());
  disk_cap_ = budget.cap(Place::kDisk);
}

void Planner::count_weights() {
  const model::Config& c = model_->config();
  const auto costs = model::token_costs(*model_);
  for (const model::Cost& cost : costs.values) plan_.dense_bytes += cost.bytes;
  routed_bytes_ = costs[model::Part::kRouted].bytes;
  plan_.dense_bytes -= routed_bytes_;
  plan_.file_bytes = model_->checkpoint().file_bytes();
  plan_.experts = static_cast<std::uint64_t>(c.layers * c.experts);
  plan_.expert_bytes = plan_.experts * model::expert_cost(*model_).bytes;
  plan_.experts_mapped = !experts::needs_cache(*model_, engine_.budget());
  if (plan_.experts_mapped) return;
  const experts::SlotNeeds slots = experts::slot_needs(model_, plan_.cap);
  plan_.slot_bytes = slots.slot_bytes;
  plan_.least_slots = slots.least;
  most_slots_ = std::min(slots.most, plan_.experts);
}

bool Planner::fits(std::uint64_t tokens, bool tiered) const {
  const SessionNeeds n = needs(tokens);
  const std::uint64_t other = plan_.workspace + plan_.slots_least();
  if (!tiered) return other + n.in_memory() <= plan_.free;
  return other + n.least() <= plan_.free && n.kv.stored <= disk_cap_;
}

std::uint64_t Planner::most_tokens(bool tiered) const {
  std::uint64_t low = 0, high = context_max_;  // low fits or is 0
  while (low < high) {
    const std::uint64_t middle = low + (high - low + 1) / 2;
    if (fits(middle, tiered))
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

void Planner::place_experts() {
  if (plan_.experts_mapped) {  // the kernel keeps what the machine has room for
    const std::uint64_t room =
        less(physical_memory(), plan_.dense_bytes + plan_.workspace + kv_held());
    const std::uint64_t each = std::max<std::uint64_t>(plan_.expert_bytes / plan_.experts, 1);
    plan_.experts_in_memory = std::min(plan_.experts, room / each);
    return;
  }
  const std::uint64_t room = less(plan_.free, plan_.workspace + kv_held());
  plan_.experts_in_memory = std::clamp(room / plan_.slot_bytes, plan_.least_slots, most_slots_);
}

// The share of the rows that may be elsewhere for which there is room.
double Planner::rows_in_memory() const {
  const std::uint64_t taken = plan_.workspace + plan_.experts_in_memory * plan_.slot_bytes;
  const std::uint64_t room = less(plan_.free, taken + plan_.sessions.least());
  const std::uint64_t rows = less(plan_.sessions.kv.rows, plan_.sessions.kv.rows_least);
  if (plan_.fits || rows == 0) return 1;
  return std::min(1.0, static_cast<double>(room) / static_cast<double>(rows));
}

void Planner::estimate() {
  const kv::RowReads rows = kv::reads_of(layout_, plan_.tokens);
  plan_.token_memory_bytes = plan_.dense_bytes + routed_bytes_ + rows.memory;
  const double missing = 1 - static_cast<double>(plan_.experts_in_memory) /
                                 static_cast<double>(std::max<std::uint64_t>(plan_.experts, 1));
  const double disk = missing * static_cast<double>(routed_bytes_) +
                      (1 - rows_in_memory()) * kNewRows * static_cast<double>(rows.single_rows) *
                          static_cast<double>(store::kPage);
  plan_.token_disk_bytes = static_cast<std::uint64_t>(disk);
  if (options_.memory_bytes_per_s <= 0) return;
  if (plan_.token_disk_bytes > 0 && options_.disk_bytes_per_s <= 0) return;
  double seconds = static_cast<double>(plan_.token_memory_bytes) / options_.memory_bytes_per_s;
  if (plan_.token_disk_bytes > 0) seconds += disk / options_.disk_bytes_per_s;
  plan_.tokens_per_s = 1 / seconds;
}

MemoryPlan Planner::run() {
  count_weights();
  plan_.tokens = context_max_;
  plan_.sessions = needs(context_max_);
  plan_.fits = fits(context_max_, false);
  plan_.fits_tiered = fits(context_max_, true);
  plan_.context_fitting = most_tokens(false);
  plan_.context_fitting_tiered = most_tokens(true);
  place_experts();
  estimate();
  return plan_;
}

}  // namespace

// More than in_memory() where the context is short: blocks of a session with tiers leave memory
// when the budget is short of anything, and then there must be room for a wave.
std::uint64_t SessionNeeds::least() const { return logits + kv.fixed + kv.rows_least + wave; }

SessionNeeds session_needs(const kv::Layout& layout, std::uint64_t vocab, std::uint64_t tokens,
                           std::uint64_t sessions, int max_batch_tokens) {
  const auto batch = static_cast<std::uint64_t>(max_batch_tokens);
  const kv::Needs one = kv::needs_of(layout, tokens, batch);
  SessionNeeds n;
  n.logits = sessions * vocab * sizeof(float);
  // Second states: of as many sessions as have long chunks in one batch.
  const std::uint64_t second = one.fixed - layout.fixed_bytes;
  const std::uint64_t chunks = batch / (static_cast<std::uint64_t>(layout.rollback) + 1);
  n.kv.fixed = sessions * layout.fixed_bytes + std::min(sessions, chunks) * second;
  n.kv.rows = sessions * one.rows;
  n.kv.rows_least = sessions * one.rows_least;
  n.kv.stored = sessions * one.stored;
  n.wave = kv::wave_needs(layout);
  return n;
}

MemoryPlan plan_memory(Engine& engine, const PlanOptions& options) {
  return Planner(engine, options).run();
}

}  // namespace v4i::session
