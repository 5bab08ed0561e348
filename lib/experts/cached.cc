// A lease: which experts it has, which it reads, which it waits for; see cached.h.
#include "lib/experts/cached.h"

#include <algorithm>
#include <chrono>

#include "lib/base/error.h"

namespace v4i::experts {

namespace {

using Clock = std::chrono::steady_clock;

// A disk that has not answered by then is broken, and the run ends with a sentence.
constexpr auto kLongestRead = std::chrono::seconds(60);
constexpr std::uint64_t kLook = 100'000'000;  // ns of one wait

std::uint64_t ns_since(Clock::time_point start) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
}

}  // namespace

void Cached::begin(int layer, std::span<const std::int32_t> ids, const Uses& uses) {
  const Lock lock(mutex_);
  V4I_CHECK(!current_.lives);
  current_ = {true, layer, ids};
  now_ = layer;
  reads_->progress(0);
  while (budget_.used() > budget_.cap() && drop_coldest()) {  // it has shrunk
  }
  heat_.used(layer, ids, uses);
  guesses_.end(layer, ids);
  try {
    for (const std::int32_t id : ids) count(place_[key(layer, id)]);
    end_hints_of(layer);
    read_more();
  } catch (...) {
    leave();
    throw;
  }
}

void Cached::count(Slot* slot) {
  if (slot == nullptr || (!settle_quietly(*slot) && slot->state != State::kReading)) {
    ++stats_.misses;
    return;
  }
  ++(slot->state == State::kReady ? stats_.hits : stats_.late);
  if (slot->hinted) ++stats_.hint_hits;
  adopt(*slot);
}

void Cached::adopt(Slot& slot) noexcept {
  if (slot.state == State::kReading && slot.hinted)
    for (store::ReadRequest& r : slot.all()) reads_->promote(r);
  await(slot, false);
  slot.hinted = false;
  slot.wanted = true;
}

// The slot of an id of the lease, which is being read now if it was not; null: none can be had.
Cached::Slot* Cached::seat(std::size_t i, bool must) {
  const ExpertId which{current_.layer, current_.ids[i]};
  Slot* slot = place_[key(which.layer, which.id)];
  if (slot == nullptr) {
    slot = obtain(kAnyTime);
    if (slot == nullptr && must) slot = last_wanted(i);
    if (slot == nullptr) return nullptr;
    start(*slot, which, false);
  }
  if (!slot->wanted) adopt(*slot);
  return slot;
}

// Starts to read what the lease has no slots for yet, in order, while slots can be had.
void Cached::read_more() {
  while (current_.next < current_.ids.size() && seat(current_.next, false) != nullptr)
    ++current_.next;
}

// Until there is a slot for id `first`: all may be read for nobody at the moment.
void Cached::wait_for_slot(std::size_t first, Lock& lock) {
  const auto start = Clock::now();
  for (;;) {
    const std::uint64_t seen = reads_->finished();
    if (seat(first, true) != nullptr) return;
    if (Clock::now() - start > kLongestRead)
      fail(Code::kIo, "{}: no read of an expert came to its end within {} s", files_.model().path(),
           kLongestRead.count());
    lock.unlock();
    reads_->progress(kLook, seen);
    lock.lock();
  }
}

void Cached::wait_for(Slot& slot, Lock& lock) {
  const auto start = Clock::now();
  while (!settle(slot)) {
    const auto open = std::find_if(slot.all().begin(), slot.all().end(),
                                   [](const store::ReadRequest& r) { return !r.done(); });
    if (Clock::now() - start > kLongestRead)
      fail(Code::kIo, "{}: an expert of layer {} was not read within {} s", files_.model().path(),
           slot.which.layer, kLongestRead.count());
    if (open == slot.all().end()) continue;  // a moment ago
    lock.unlock();
    reads_->wait(*open, kLook);  // the slot is wanted, so it stays
    lock.lock();
  }
}

std::size_t Cached::wait(int layer, std::span<const std::int32_t> ids, std::size_t first) {
  const auto start = Clock::now();
  Lock lock(mutex_);
  V4I_CHECK(current_.lives && current_.layer == layer && first < ids.size());
  for (std::size_t i = current_.first; i < first; ++i) {
    Slot* done = place_[key(layer, ids[i])];
    done->wanted = done->pinned = false;
  }
  current_.first = first;
  for (bool again = false;; again = true) {
    wait_for_slot(first, lock);
    read_more();
    try {
      wait_for(*place_[key(layer, ids[first])], lock);
      break;
    } catch (const Error&) {  // once more: a hint, or a run before, may have begun the read
      if (again || place_[key(layer, ids[first])] != nullptr) throw;
    }
  }
  std::size_t end = first;
  for (; end < ids.size(); ++end) {
    Slot* s = place_[key(layer, ids[end])];
    if (s == nullptr || !settle_quietly(*s)) break;
    s->pinned = true;
  }
  read_more();
  stats_.wait_ns += ns_since(start);
  if (current_.next < ids.size()) say_waves(lock);
  return end;
}

// Fewer slots than a token needs of a layer: it works, and slowly.
void Cached::say_waves(Lock& lock) {
  const auto needed = static_cast<std::size_t>(files_.model().config().experts_active);
  const std::size_t have = slots_.size();
  if (said_waves_ || have >= needed) return;
  said_waves_ = true;
  if (!options_.log) return;
  lock.unlock();
  options_.log(fmt::format(
      "{}: host memory has room for {} of the {} experts that a token needs of each layer, so they "
      "are read one after the other; {} bytes more would hold them",
      files_.model().path(), have, needed, (needed - have) * slot_cost_));
}

void Cached::release(int, std::span<const std::int32_t>) noexcept {
  const Lock lock(mutex_);
  leave();
}

void Cached::leave() noexcept {
  for (const std::int32_t id : current_.ids)
    if (Slot* s = place_[key(current_.layer, id)]) s->wanted = s->pinned = false;
  current_ = {};
}

Stats Cached::stats() const {
  const Lock lock(mutex_);
  Stats out = stats_;
  out.experts = experts_in_all();
  out.slots = slots_.size();
  out.slot_bytes = slot_cost_;
  return out;
}

std::string Cached::heat() const {
  const Lock lock(mutex_);
  return heat_.save(files_.model().digest());
}

std::shared_ptr<Experts> cached_experts(std::shared_ptr<const model::Model> model, Budget& budget,
                                        std::shared_ptr<store::ReadQueue> reads,
                                        const CacheOptions& options) {
  return std::make_shared<Cached>(std::move(model), budget, std::move(reads), options);
}

bool needs_cache(const model::Model& model, const Budget& budget) {
  std::uint64_t bytes = model.tensor_bytes();  // n-gram tables have a cache of their own
  for (const model::Block& b : model.weights().layers)
    bytes -= b.engram.table.data_bytes() + b.engram.table.scale_bytes();
  return budget.cap() < bytes;
}

}  // namespace v4i::experts
