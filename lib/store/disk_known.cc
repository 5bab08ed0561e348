// DiskKnown; see disk_known.h.
#include "lib/store/disk_known.h"

#include <algorithm>
#include <utility>

#include "lib/store/disk_files.h"

namespace v4i::store {

DiskKnown::DiskKnown(Budget& budget) : budget_(budget) { budget_.add(this); }

DiskKnown::~DiskKnown() {
  budget_.remove(this);
  budget_.give(Place::kHost, Use::kKv, bytes_);
}

// A node of the table, its bucket, and the sums, with what malloc adds to each.
std::uint64_t DiskKnown::cost(const Entry& e) {
  return sizeof(Table::value_type) + 48 + pages_of(e.bytes) * sizeof(std::uint32_t);
}

bool DiskKnown::find(const BlockKey& key, BlockPlace* place) const {
  const std::scoped_lock lock(mutex_);
  const auto it = table_.find(key);
  if (it == table_.end()) return false;
  const Entry& e = it->second;
  place->segment = e.segment;
  place->page = e.page;
  place->bytes = e.bytes;
  place->sums.assign(e.sums.get(), e.sums.get() + pages_of(e.bytes));
  return true;
}

void DiskKnown::add(const BlockKey& key, const BlockPlace& place) noexcept try {
  const std::scoped_lock lock(mutex_);
  const std::uint64_t most = budget_.cap() / 64;
  Entry e{place.segment, place.page, place.bytes,
          std::make_unique<std::uint32_t[]>(place.sums.size())};
  std::copy(place.sums.begin(), place.sums.end(), e.sums.get());
  const std::uint64_t wanted = cost(e);
  if (const auto old = table_.find(key); old != table_.end()) drop(old);
  // Any half will do: what is used soon is asked of the index once more.
  if (bytes_ + wanted > most)
    while (!table_.empty() && bytes_ > most / 2) drop(table_.begin());
  if (bytes_ + wanted > most || !budget_.try_take(Place::kHost, Use::kKv, wanted)) return;
  bytes_ += wanted;
  try {
    table_.emplace(key, std::move(e));
  } catch (...) {
    bytes_ -= wanted;
    budget_.give(Place::kHost, Use::kKv, wanted);
  }
} catch (...) {
  // No memory: then it is not known.
}

void DiskKnown::drop(Table::iterator it) noexcept {
  const std::uint64_t bytes = cost(it->second);
  table_.erase(it);
  bytes_ -= bytes;
  budget_.give(Place::kHost, Use::kKv, bytes);
}

void DiskKnown::erase(const BlockKey& key) noexcept {
  const std::scoped_lock lock(mutex_);
  if (const auto it = table_.find(key); it != table_.end()) drop(it);
}

std::uint64_t DiskKnown::bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

std::uint64_t DiskKnown::give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept {
  const std::scoped_lock lock(mutex_);
  if (place != Place::kHost) return 0;
  const std::uint64_t before = bytes_;
  while (!table_.empty() && before - bytes_ < bytes && bytes_ > keep) drop(table_.begin());
  return before - bytes_;
}

}  // namespace v4i::store
