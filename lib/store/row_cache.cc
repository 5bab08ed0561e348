// Slots for rows, second chance; see row_cache.h.
#include "lib/store/row_cache.h"

#include <algorithm>

#include "lib/base/error.h"

namespace v4i::store {

namespace {

constexpr std::uint32_t kWaves = std::uint32_t{1} << 31;

}  // namespace

RowCache::Set::Set(std::shared_ptr<RowCache> cache, std::size_t rows)
    : cache_(std::move(cache)),
      counted_(cache_->memory_->budget(), kBookkeeping, Use::kKv, "the list of a block's rows"),
      slots_(cache_->memory_->budget(), rows, Use::kKv, "the list of a block's rows") {}

RowCache::Set::~Set() { cache_->drop(*this); }

std::uint64_t RowCache::slab_bytes(std::size_t row_bytes) {
  return kSlabRows * (row_bytes + sizeof(Owner));
}

void RowCache::begin_wave() {
  const std::scoped_lock lock(mutex_);
  wave_ = (wave_ + 1) % kWaves;
  in_wave_ = 0;
}

RowCache::Taken RowCache::take(Set& set, std::size_t row) {
  if (set.slots_[row] != 0) {
    Owner& o = owner(set.slots_[row] - 1);
    if (o.wave != wave_) ++in_wave_;
    o.wave = wave_;
    o.recent = 1;
    ++stats_.hits;
    return Taken::kThere;
  }
  if (in_wave_ == rows()) return Taken::kFull;
  const std::uint32_t slot = room();
  Owner& o = owner(slot);
  o.set = &set;
  o.row = static_cast<std::uint32_t>(row);
  o.wave = wave_;
  o.recent = 0;  // until it is taken again
  set.slots_[row] = slot + 1;
  ++in_wave_;
  ++stats_.misses;
  return Taken::kEmpty;
}

std::uint32_t RowCache::room() {
  if (!free_.empty()) {
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  for (;;) {  // ends: some slot is not of this wave, and loses its second chance
    hand_ = (hand_ + 1) % static_cast<std::uint32_t>(rows());
    Owner& o = owner(hand_);
    if (o.wave == wave_) continue;
    if (o.recent == 0) break;
    o.recent = 0;
  }
  owner(hand_).set->slots_[owner(hand_).row] = 0;
  ++stats_.replaced;
  return hand_;
}

void RowCache::vacate(std::uint32_t slot) noexcept {
  Owner& o = owner(slot);
  if (o.wave == wave_ && in_wave_ > 0) --in_wave_;
  o.set->slots_[o.row] = 0;
  o = {};
  free_.push_back(slot);  // grow() has made room for it
}

void RowCache::forget(Set& set, std::size_t row) noexcept {
  const std::scoped_lock lock(mutex_);
  if (set.slots_[row] != 0) vacate(set.slots_[row] - 1);
}

void RowCache::drop(Set& set) noexcept {
  const std::scoped_lock lock(mutex_);
  for (const std::uint32_t slot : set.slots_)
    if (slot != 0) vacate(slot - 1);
}

bool RowCache::grow(bool ask) {
  constexpr const char* kWhat = "rows of blocks that are elsewhere";
  Budget& budget = memory_->budget();
  if (!ask) {  // a look is enough: what was free and is taken meanwhile only makes others give back
    const std::uint64_t cap = budget.cap(memory_->place()), used = budget.used(memory_->place());
    if (used > cap || cap - used < slab_bytes()) return false;
  }
  Slab slab;
  slab.bytes = Slot(*memory_, kSlabRows * row_bytes_, kWhat);
  slab.owners = Buffer<Owner>(budget, kSlabRows, Use::kKv, kWhat);
  const std::scoped_lock lock(mutex_);
  const auto first = static_cast<std::uint32_t>(rows());
  free_.reserve(first + kSlabRows);
  slabs_.push_back(std::move(slab));
  for (std::uint32_t i = 0; i < kSlabRows; ++i) free_.push_back(first + i);
  return true;
}

std::uint64_t RowCache::shrink(std::uint64_t bytes, std::size_t rows_kept) noexcept {
  const std::scoped_lock lock(mutex_);
  std::uint64_t given = 0;
  while (given < bytes && !slabs_.empty() && rows() - kSlabRows >= rows_kept) {
    for (Owner& o : slabs_.back().owners)
      if (o.set != nullptr) o.set->slots_[o.row] = 0;
    slabs_.pop_back();
    given += slab_bytes();
  }
  std::erase_if(free_, [&](std::uint32_t slot) { return slot >= rows(); });
  if (hand_ >= rows()) hand_ = 0;
  return given;
}

RowCache::Stats RowCache::stats() const {
  const std::scoped_lock lock(mutex_);
  return stats_;
}

}  // namespace v4i::store
