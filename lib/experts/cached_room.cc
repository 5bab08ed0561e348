// How much of a budget slots take; see cached.h.
#include <algorithm>

#include "lib/experts/cached.h"

namespace v4i::experts {

namespace {

// Of the cap, what experts grow to: the rest is for KV rows and workspaces.  These take more than
// that when they need it: experts give memory back before a session is refused.
constexpr std::uint64_t kShareOf4 = 3;
// Of the cap, what they keep in any case, up to what a token needs of one layer: memory cannot be
// asked for while a layer is in work.
constexpr std::uint64_t kFloorShare = 8;

std::size_t reads_cost(std::size_t reads) { return reads * sizeof(store::ReadRequest); }

// Slots that a cap has room for.
std::uint64_t grown(std::uint64_t cap, std::uint64_t slot_bytes) {
  return cap == Budget::kNoCap ? cap : cap / 4 * kShareOf4 / slot_bytes;
}

}  // namespace

SlotNeeds Cached::needs(const ExpertFiles& files, std::uint64_t cap) {
  SlotNeeds n;
  n.experts = files.count();
  n.slot_bytes = files.slot_bytes() + reads_cost(files.most_reads()) + sizeof(Slot);
  const model::Config& c = files.model().config();
  const auto active =
      static_cast<std::uint64_t>(std::max(c.experts_active, c.draft_experts_active));
  n.least = std::clamp<std::uint64_t>(cap / kFloorShare / n.slot_bytes, 1, active);
  n.most = std::clamp<std::uint64_t>(grown(cap, n.slot_bytes), 1, n.experts);
  return n;
}

SlotNeeds slot_needs(std::shared_ptr<const model::Model> model, std::uint64_t cap) {
  return Cached::needs(ExpertFiles(std::move(model)), cap);
}

bool Cached::may_grow() const {
  if (slots_.size() >= experts_in_all()) return false;
  if (options_.slots > 0) return slots_.size() < options_.slots;
  return slots_.size() < grown(budget_.cap(), slot_cost_);
}

}  // namespace v4i::experts
