// RowSlots: rows of the tables that are kept in memory, as many as the budget has room for.
//
// A row is copied out by whoever needs it, so any slot may be emptied at any time.  Slots come in
// slabs, taken while the budget has room and given back when others need it.  What makes room
// follows from CLOCK with a count of up to three: a row that was asked for since it came stays for
// as many rounds of the hand, one that never was goes first, as half of the rows of a text are.
// (Hits of 160,000 tokens of mixed text in 16,000 slots an order: this 0.408, one bit 0.405, least
// recently used 0.402; an endless cache 0.477.)
//
// A slot may be *expected*: its row is being read, because its token is known.
//
// One thread at a time; the owner has a lock.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/budget.h"
#include "lib/engram/key_index.h"
#include "lib/engram/row_form.h"
#include "lib/store/slot_memory.h"

namespace v4i::engram {

class RowSlots {
 public:
  // At most `cap` bytes, in slabs of about `slab_bytes`.
  RowSlots(Budget& budget, const RowForm& form, std::uint64_t cap, std::size_t slab_bytes);

  struct Found {
    const std::byte* row = nullptr;  // null: not here
    unsigned parts = 0;              // of it, that are there: a bit for each Part
  };
  static constexpr unsigned kWhole = 3;
  // Asked for: stays for a round of the hand more.
  Found ask(std::uint64_t key);
  bool has(std::uint64_t key) const { return find(key) != KeyIndex::kNone; }

  // A whole row, unless it is here.
  void keep(std::uint64_t key, const std::byte* row);
  // A slot for a row that is about to be read; false when there is no room: rows that were expected
  // and not asked for take at most half of the slots.
  bool expect(std::uint64_t key);
  // Bytes of an expected row, if it is one and not whole; what lies there now.
  Found arrived(std::uint64_t key, Part part, const std::byte* bytes);
  void drop(std::uint64_t key);  // if it is here

  // Gives back slabs, the longest unused first, while more than `keep` bytes are held.
  std::uint64_t give_back(std::uint64_t bytes, std::uint64_t keep);

  std::uint64_t slots() const { return slabs_in_use_ * per_slab_; }
  std::uint64_t bytes() const { return slabs_in_use_ * slab_cost_; }

 private:
  struct Slot {
    std::int32_t row = 0;
    std::uint16_t layer = 0;
    std::uint8_t state = 0;  // kFree, or kTaken and the parts that are there
    std::uint8_t uses = 0;   // rounds that it stays
    bool expected = false;
  };
  static constexpr std::uint8_t kMostUses = 3;
  static constexpr std::uint8_t kFree = 0, kTaken = 4;

  Slot& slot(std::uint32_t n) const {
    return reinterpret_cast<Slot*>(slabs_[n / per_slab_].data())[n % per_slab_];
  }
  std::byte* row(std::uint32_t n) const {
    return slabs_[n / per_slab_].data() + per_slab_ * sizeof(Slot) + n % per_slab_ * form_.bytes();
  }
  std::uint64_t key(std::uint32_t n) const { return key_of(slot(n).layer, slot(n).row); }
  std::uint32_t find(std::uint64_t wanted) const {
    if (slabs_in_use_ == 0) return KeyIndex::kNone;
    return index_.find(wanted, [this](std::uint32_t n) { return key(n); });
  }
  std::uint32_t all() const { return static_cast<std::uint32_t>(slabs_.size() * per_slab_); }
  std::uint32_t obtain(std::uint64_t for_key);
  bool grow() noexcept;
  void enlarge_index();
  void empty(std::uint32_t n);
  void drop_slab(std::size_t slab);

  Budget& budget_;
  RowForm form_;
  std::uint32_t per_slab_;
  std::size_t slab_cost_, most_slabs_;
  std::vector<store::SlotMemory> slabs_;  // some empty, whose places are used again
  std::size_t slabs_in_use_ = 0;
  std::uint32_t hand_ = 0;
  std::uint64_t expected_ = 0;  // slots that were expected and not asked for
  KeyIndex index_;
};

}  // namespace v4i::engram
