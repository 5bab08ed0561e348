// BlockTable: copy on write for sealed blocks, whole-block growth for the rest.
#include "lib/kv/block_table.h"

#include <algorithm>

#include "lib/base/error.h"

namespace v4i::kv {

std::uint64_t BlockTable::bytes() const {
  std::uint64_t total = 0;
  for (const Entry& e : blocks_)
    if (e.sealed == nullptr || e.sealed->here) total += block_bytes();
  return total;
}

bool BlockTable::reserve(std::int64_t first, std::int64_t last, store::BlockCache& cache) {
  if (first >= last) return true;
  const std::int64_t begin = first / rows_per_block_, end = (last - 1) / rows_per_block_ + 1;
  V4I_CHECK(first >= 0 && begin <= blocks());
  for (std::int64_t b = begin; b < end; ++b) {
    if (b < blocks() && !is_sealed(b)) continue;
    Entry fresh;
    fresh.open = cache.allocate(block_bytes());
    fresh.data = fresh.open.data();
    if (b == blocks()) {
      blocks_.push_back(std::move(fresh));
      continue;
    }
    Entry& old = blocks_[static_cast<std::size_t>(b)];
    if (!cache.copy(old.sealed, fresh.open)) return false;
    old = std::move(fresh);
  }
  return true;
}

std::byte* BlockTable::mutable_row(std::int64_t i) {
  const auto b = static_cast<std::size_t>(i / rows_per_block_);
  V4I_CHECK(i >= 0 && b < blocks_.size() && !blocks_[b].open.empty());
  return blocks_[b].data + static_cast<std::size_t>(i % rows_per_block_) * row_bytes_;
}

bool BlockTable::read(std::int64_t first, std::int64_t count, store::BlockCache& cache,
                      void* to) const {
  const Entry& e = blocks_[static_cast<std::size_t>(first / rows_per_block_)];
  const std::size_t at = static_cast<std::size_t>(first % rows_per_block_) * row_bytes_;
  const std::size_t n = static_cast<std::size_t>(count) * row_bytes_;
  if (e.sealed != nullptr) return cache.read(e.sealed, at, n, to);
  cache.memory().download(to, e.data + at, n);
  return true;
}

bool BlockTable::is_sealed(std::int64_t index) const { return sealed(index) != nullptr; }

void BlockTable::seal(std::int64_t index, const store::BlockKey& key, store::BlockCache& cache) {
  Entry& e = blocks_[static_cast<std::size_t>(index)];
  V4I_CHECK(e.sealed == nullptr);
  e.sealed = cache.seal(key, std::move(e.open), shape_.row_bytes);
  e.open.reset();
  e.data = nullptr;
  settled_at_ = kUnsettled;
}

void BlockTable::adopt(store::BlockRef block) {
  Entry e;
  e.sealed = std::move(block);
  blocks_.push_back(std::move(e));
  settled_at_ = kUnsettled;
}

void BlockTable::truncate(std::int64_t rows) noexcept {
  const std::int64_t keep = (rows + rows_per_block_ - 1) / rows_per_block_;
  if (keep < blocks()) blocks_.erase(blocks_.begin() + keep, blocks_.end());
}

BlockTable BlockTable::fork(store::BlockCache& cache) const {
  BlockTable other(row_bytes_, rows_per_block_, by_row());
  other.blocks_.reserve(blocks_.size());
  for (const Entry& e : blocks_) {
    Entry copy;
    copy.sealed = e.sealed;
    if (e.sealed == nullptr) {
      copy.open = cache.allocate(block_bytes());
      cache.memory().copy(copy.open.data(), e.data, block_bytes());
      copy.data = copy.open.data();
    }
    other.blocks_.push_back(std::move(copy));
  }
  return other;
}

bool BlockTable::settle(std::uint64_t evictions, std::uint64_t now) {
  elsewhere_ = 0;
  for (Entry& e : blocks_) {
    if (e.sealed == nullptr) continue;
    if (!e.sealed->here) {
      if (!by_row()) return false;
      ++elsewhere_;
      e.data = nullptr;
      continue;
    }
    e.data = e.sealed->slot.data();
    e.sealed->used = now;
  }
  settled_at_ = evictions;
  return true;
}

const store::BlockRef* BlockTable::elsewhere_block(std::int64_t row) {
  Entry& e = blocks_[static_cast<std::size_t>(row / rows_per_block_)];
  if (e.data != nullptr) return nullptr;
  if (!e.sealed->here) return &e.sealed;
  e.data = e.sealed->slot.data();  // somebody had it brought as a whole
  return nullptr;
}

void BlockTable::sealed_blocks(std::vector<store::BlockRef>* out) const {
  for (const Entry& e : blocks_)
    if (e.sealed != nullptr) out->push_back(e.sealed);
}

std::int64_t BlockTable::first_lost() const {
  const auto lost = [](const Entry& e) { return e.sealed != nullptr && e.sealed->lost; };
  return std::find_if(blocks_.begin(), blocks_.end(), lost) - blocks_.begin();
}

}  // namespace v4i::kv
