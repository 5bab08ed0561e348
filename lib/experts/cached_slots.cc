// Slots: had, given away, filled; see cached.h.
#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "lib/base/error.h"
#include "lib/experts/cached.h"

namespace v4i::experts {

Cached::Cached(std::shared_ptr<const model::Model> model, Budget& budget,
               std::shared_ptr<store::ReadQueue> reads, const CacheOptions& options)
    : files_(std::move(model), options.open_shard),
      budget_(budget),
      reads_(std::move(reads)),
      options_(options),
      slot_cost_(needs(files_, budget.cap()).slot_bytes),
      heat_(files_.layers(), files_.experts()),
      place_(static_cast<std::size_t>(files_.layers()) *
             static_cast<std::size_t>(files_.experts())) {
  slots_.reserve(experts_in_all());
  guesses_.reserve(static_cast<std::size_t>(files_.experts()));
  // Now others are asked to give memory back; a lease cannot do that.
  budget_.take(Place::kHost, Use::kWeights, slot_cost_, "room for one expert");
  budget_.give(Place::kHost, Use::kWeights, slot_cost_);
  const std::uint64_t wanted = needs(files_, budget_.cap()).least;
  while (slots_.size() < wanted && (slots_.empty() || may_grow()) && grow() != nullptr) {
  }
  if (slots_.empty())
    fail(Code::kNoMemory, "{}: the system has no {} bytes of host memory for one expert",
         files_.model().path(), slot_cost_);
  floor_ = slots_.size();
  budget_.add(this);
}

Cached::~Cached() {
  budget_.remove(this);
  constexpr std::uint64_t kSecond = 1'000'000'000;
  for (const auto& s : slots_)
    for (store::ReadRequest& r : s->all())
      while (!r.done() && !reads_->cancel(r)) reads_->wait(r, kSecond);
}

Cached::Slot* Cached::grow() noexcept try {
  auto slot = std::make_unique<Slot>();
  slot->requests = std::make_unique<store::ReadRequest[]>(files_.most_reads());
  slot->memory = store::SlotMemory(budget_, files_.slot_bytes(), slot_cost_ - files_.slot_bytes());
  if (!slot->memory) return nullptr;
  slot->index = slots_.size();
  slots_.push_back(std::move(slot));
  return slots_.back().get();
} catch (const std::bad_alloc&) {
  return nullptr;
}

Cached::Slot* Cached::vacant() noexcept {
  for (const auto& s : slots_) {
    if (s->state == State::kStopping &&
        std::all_of(s->all().begin(), s->all().end(),
                    [&](store::ReadRequest& r) { return r.done() || reads_->cancel(r); }))
      s->state = State::kEmpty;
    if (s->state == State::kEmpty) return s.get();
  }
  return nullptr;
}

// Ready, or not being read at this moment; and nobody works with it.
bool Cached::can_go(const Slot& s) const {
  if (s.wanted || s.pinned || s.state == State::kStopping) return false;
  if (s.state != State::kReading) return true;
  return std::none_of(s.requests.get(), s.requests.get() + s.reads, [](const auto& r) {
    return r.state.load() == store::ReadRequest::State::kRunning;
  });
}

float Cached::next_use(const Slot& s) const {
  if (s.awaited) return heat_.ahead(s.which.layer, now_) + s.doubt;
  return heat_.next_use(s.which.layer, s.which.id, now_);
}

void Cached::await(Slot& s, bool on) noexcept {
  if (s.awaited != on) awaited_ += on ? 1 : std::size_t{0} - 1;
  s.awaited = on;
}

// Of the slots that may go and whose experts are expected back later than in `tokens`, the one
// with the longest time.
Cached::Slot* Cached::coldest(float tokens) noexcept {
  Slot* found = nullptr;
  for (const auto& s : slots_) {
    if (s->state == State::kEmpty) return s.get();
    const float t = next_use(*s);
    if (t <= tokens || !can_go(*s)) continue;
    tokens = t;
    found = s.get();
  }
  return found;
}

Cached::Slot* Cached::obtain(float tokens) noexcept {
  Slot* s = vacant();
  if (s == nullptr && may_grow()) s = grow();
  while (s == nullptr) {
    Slot* cold = coldest(tokens);
    if (cold == nullptr) return nullptr;
    if (evict(*cold)) s = cold;
  }
  return s;
}

// Emptied for an id before: the lease's last one that can be.
Cached::Slot* Cached::last_wanted(std::size_t after) noexcept {
  for (std::size_t i = current_.ids.size(); --i > after;) {
    Slot* s = place_[key(current_.layer, current_.ids[i])];
    if (s == nullptr || s->pinned) continue;
    s->wanted = false;
    const bool empty = can_go(*s) && evict(*s);
    if (place_[key(current_.layer, current_.ids[i])] == s)
      s->wanted = true;
    else
      current_.next = std::min(current_.next, i);
    if (empty) return s;
  }
  return nullptr;
}

bool Cached::evict(Slot& s) noexcept {
  if (s.state == State::kEmpty) return true;
  bool ended = true;
  if (s.state == State::kReady) ++stats_.evictions;
  if (s.state == State::kReading)
    for (store::ReadRequest& r : s.all()) {
      if (reads_->cancel(r)) continue;
      stats_.bytes_read += r.bytes;
      ended = r.done() && ended;
    }
  await(s, false);
  place_[key(s.which.layer, s.which.id)] = nullptr;
  s.state = ended ? State::kEmpty : State::kStopping;
  s.hinted = s.wanted = s.pinned = false;
  return ended;
}

void Cached::drop(Slot& s) noexcept {
  const std::size_t at = s.index;
  std::swap(slots_[at], slots_.back());
  slots_[at]->index = at;
  slots_.pop_back();
}

bool Cached::drop_coldest() noexcept {
  if (slots_.size() <= floor_) return false;
  Slot* s = vacant();
  while (s == nullptr) {
    Slot* cold = coldest(kAnyTime);
    if (cold == nullptr) return false;
    if (evict(*cold)) s = cold;
  }
  drop(*s);
  return true;
}

std::uint64_t Cached::give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept {
  if (place != Place::kHost) return 0;
  const Lock lock(mutex_);
  std::uint64_t given = 0;
  while (given < bytes && slots_.size() * slot_cost_ > keep && drop_coldest()) given += slot_cost_;
  return given;
}

void Cached::start(Slot& s, ExpertId which, bool hint) {
  s.which = which;
  s.reads = files_.plan(which, s.memory.data(), {s.requests.get(), files_.most_reads()});
  s.expert = files_.view(which, s.memory.data());
  s.state = State::kReading;
  s.hinted = hint;
  place_[key(which.layer, which.id)] = &s;
  std::array<store::ReadRequest*, 16> some;
  for (std::size_t i = 0; i < s.reads;) {
    std::size_t n = 0;
    while (n < some.size() && i < s.reads) some[n++] = &s.requests[i++];
    reads_->submit({some.data(), n}, hint);
  }
  if (hint) ++stats_.hint_reads;
}

bool Cached::settle(Slot& s) {
  if (s.state != State::kReading) return s.state == State::kReady;
  for (const store::ReadRequest& r : s.all())
    if (!r.done()) return false;
  for (const store::ReadRequest& r : s.all()) stats_.bytes_read += r.read;
  s.state = State::kReady;
  try {
    files_.check(s.which, s.all());
  } catch (const Error&) {
    ++stats_.errors;
    evict(s);
    throw;
  }
  return true;
}

bool Cached::settle_quietly(Slot& s) noexcept try { return settle(s); } catch (...) {
  return false;
}

// What hints brought for this layer and it does not use: not read if that has not begun, and cold.
void Cached::end_hints_of(int layer) noexcept {
  if (awaited_ == 0) return;
  for (std::int32_t e = 0; e < files_.experts(); ++e) {
    Slot* s = place_[key(layer, e)];
    if (s == nullptr || !s->awaited) continue;
    await(*s, false);
    s->hinted = false;
    if (s->state == State::kReading && can_go(*s)) evict(*s);
  }
}

void Cached::hint(int layer, std::span<const std::int32_t> ids, bool certain) noexcept try {
  const Lock lock(mutex_);
  reads_->progress(0);
  if (!certain) guesses_.begin(layer);
  const float doubt = certain ? 0 : 1 / std::max(guesses_.right(), 0.01f) - 1;
  for (const std::int32_t id : ids) {
    if (place_[key(layer, id)] != nullptr) continue;
    if (!certain) guesses_.add(id);
    if (!certain && !guesses_.good()) continue;
    if (2 * (awaited_ + 1) > slots_.size() && !may_grow()) continue;  // room for what is acquired
    Slot* s = obtain(heat_.ahead(layer, now_) + doubt);
    if (s == nullptr) continue;
    start(*s, {layer, id}, true);
    await(*s, true);
    s->doubt = doubt;
  }
} catch (...) {  // a hint that is not taken costs time only
}

bool Cached::takes_hints() const noexcept {
  const Lock lock(mutex_);
  return slots_.size() < experts_in_all();
}

bool Cached::wants_guesses() noexcept {
  if (!options_.guesses) return false;
  const Lock lock(mutex_);
  return slots_.size() < experts_in_all() && guesses_.wanted();
}

bool Cached::restore_heat(std::string_view bytes) {
  const Lock lock(mutex_);
  if (!heat_.restore(bytes, files_.model().digest())) return false;
  fill();
  return true;
}

// The hottest, as hints, until the budget has no more room.
void Cached::fill() noexcept try {
  const auto each = static_cast<std::size_t>(files_.experts());
  const auto which = [&](std::size_t k) {
    return ExpertId{static_cast<int>(k / each), static_cast<std::int32_t>(k % each)};
  };
  const auto chance = [&](std::size_t k) { return heat_.chance(which(k).layer, which(k).id); };
  std::vector<std::size_t> order(place_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return chance(a) > chance(b); });
  Slot* empty = vacant();
  for (const std::size_t k : order) {
    if (place_[k] != nullptr || which(k).id >= files_.experts_of(which(k).layer)) continue;
    if (empty == nullptr && may_grow()) empty = grow();
    if (empty == nullptr || chance(k) <= 0) return;
    start(*empty, which(k), true);
    empty = slots_.size() <= floor_ ? vacant() : nullptr;
  }
} catch (...) {  // the others are read when they are needed
}

}  // namespace v4i::experts
