// CLOCK over slabs; see row_slots.h.
#include "lib/engram/row_slots.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace v4i::engram {

namespace {

constexpr std::size_t kIndexShare = 4 * KeyIndex::kEntryBytes;  // of a slot, at most

}  // namespace

RowSlots::RowSlots(Budget& budget, const RowForm& form, std::uint64_t cap, std::size_t slab_bytes)
    : budget_(budget), form_(form) {
  const std::size_t each = form.bytes() + sizeof(Slot) + kIndexShare;
  per_slab_ = static_cast<std::uint32_t>(std::max<std::size_t>(slab_bytes / each, 1));
  slab_cost_ = per_slab_ * each;
  const std::uint64_t most = (std::uint64_t{1} << 31) / per_slab_;  // numbers of slots are 32 bits
  most_slabs_ = static_cast<std::size_t>(std::min(cap / slab_cost_, most));
}

// So that there is room for the slots of one slab more.
void RowSlots::enlarge_index() {
  const std::size_t wanted = std::bit_ceil(2 * (slabs_in_use_ + 1) * std::size_t{per_slab_});
  if (index_.entries() >= wanted) return;
  KeyIndex larger;
  larger.resize(wanted);
  for (std::uint32_t n = 0; n < all(); ++n)
    if (slabs_[n / per_slab_] && slot(n).state != kFree) larger.insert(key(n), n);
  index_ = std::move(larger);
}

// A slab more, with the hand at its beginning; false where the budget or the system has no room.
bool RowSlots::grow() noexcept try {
  if (slabs_in_use_ == most_slabs_) return false;
  const std::size_t bytes = per_slab_ * (form_.bytes() + sizeof(Slot));
  store::SlotMemory memory(budget_, bytes, slab_cost_ - bytes);
  if (!memory) return false;
  enlarge_index();
  std::uninitialized_fill_n(reinterpret_cast<Slot*>(memory.data()), per_slab_, Slot{});
  auto place = std::find_if(slabs_.begin(), slabs_.end(), [](const auto& s) { return !s; });
  if (place == slabs_.end()) place = slabs_.emplace(slabs_.end());
  *place = std::move(memory);
  ++slabs_in_use_;
  hand_ = static_cast<std::uint32_t>(place - slabs_.begin()) * per_slab_;
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void RowSlots::empty(std::uint32_t n) {
  Slot& s = slot(n);
  index_.erase(key(n), [this](std::uint32_t i) { return key(i); });
  expected_ -= s.expected;
  s = Slot{};
}

// An empty slot that has the key from now on, or kNone.
std::uint32_t RowSlots::obtain(std::uint64_t for_key) {
  std::uint32_t found = KeyIndex::kNone;
  for (std::uint64_t steps = 0; found == KeyIndex::kNone; ++steps) {
    if (hand_ < all() && slabs_[hand_ / per_slab_] && slot(hand_).state == kFree) {
      found = hand_;
    } else if (steps == 0 && grow()) {
      continue;  // at an empty slot
    } else if (slabs_in_use_ == 0 || steps > (kMostUses + 1ull) * all()) {
      return KeyIndex::kNone;
    } else if (hand_ < all() && !slabs_[hand_ / per_slab_]) {
      hand_ += per_slab_ - 1;  // over a slab that is not there
    } else if (hand_ < all() && slot(hand_).uses > 0) {
      --slot(hand_).uses;
    } else if (hand_ < all()) {
      empty(found = hand_);
    }
    hand_ = hand_ + 1 < all() ? hand_ + 1 : 0;
  }
  Slot& s = slot(found);
  s.row = static_cast<std::int32_t>(for_key);
  s.layer = static_cast<std::uint16_t>(for_key >> 32);
  s.state = kTaken;
  index_.insert(for_key, found);
  return found;
}

RowSlots::Found RowSlots::ask(std::uint64_t wanted) {
  const std::uint32_t n = find(wanted);
  if (n == KeyIndex::kNone) return {};
  Slot& s = slot(n);
  s.uses = std::min<std::uint8_t>(s.uses + 1, kMostUses);
  expected_ -= s.expected;
  s.expected = false;
  return {row(n), static_cast<unsigned>(s.state - kTaken)};
}

void RowSlots::keep(std::uint64_t wanted, const std::byte* bytes) {
  if (find(wanted) != KeyIndex::kNone) return;
  const std::uint32_t n = obtain(wanted);
  if (n == KeyIndex::kNone) return;
  std::memcpy(row(n), bytes, form_.bytes());
  slot(n).state = kTaken + kWhole;
}

bool RowSlots::expect(std::uint64_t wanted) {
  if (2 * (expected_ + 1) > slots() && !grow()) return false;
  const std::uint32_t n = obtain(wanted);
  if (n == KeyIndex::kNone) return false;
  slot(n).uses = 1;
  slot(n).expected = true;
  ++expected_;
  return true;
}

RowSlots::Found RowSlots::arrived(std::uint64_t wanted, Part part, const std::byte* bytes) {
  const std::uint32_t n = find(wanted);
  if (n == KeyIndex::kNone) return {};
  Slot& s = slot(n);
  if (s.state == kTaken + kWhole) return {};
  std::memcpy(row(n) + form_.begin(part), bytes, form_.bytes(part));
  s.state = static_cast<std::uint8_t>(s.state | 1u << static_cast<unsigned>(part));
  return {row(n), static_cast<unsigned>(s.state - kTaken)};
}

void RowSlots::drop(std::uint64_t wanted) {
  const std::uint32_t n = find(wanted);
  if (n != KeyIndex::kNone) empty(n);
}

void RowSlots::drop_slab(std::size_t slab) {
  const auto first = static_cast<std::uint32_t>(slab) * per_slab_;
  for (std::uint32_t n = first; n < first + per_slab_; ++n)
    if (slot(n).state != kFree) empty(n);
  slabs_[slab] = {};
  --slabs_in_use_;
}

std::uint64_t RowSlots::give_back(std::uint64_t wanted, std::uint64_t keep_bytes) {
  std::uint64_t given = 0;
  while (given < wanted && slabs_in_use_ > 0 && bytes() > keep_bytes) {
    std::size_t slab = hand_ / per_slab_;  // behind the hand is what it has not seen for longest
    while (slab >= slabs_.size() || !slabs_[slab]) slab = slab + 1 < slabs_.size() ? slab + 1 : 0;
    drop_slab(slab);
    hand_ = static_cast<std::uint32_t>(slab) * per_slab_;
    given += slab_cost_;
  }
  return given;
}

}  // namespace v4i::engram
