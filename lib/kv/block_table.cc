// BlockTable: copy on write for sealed blocks, whole-block growth for the rest.
#include "lib/kv/block_table.h"

#include <cstring>

#include "lib/base/error.h"

namespace v4i::kv {

void BlockTable::reserve(std::int64_t first, std::int64_t last, store::TierStack& store) {
  if (first >= last) return;
  const std::int64_t begin = first / rows_per_block_, end = (last - 1) / rows_per_block_ + 1;
  V4I_CHECK(first >= 0 && begin <= blocks());
  for (std::int64_t b = begin; b < end; ++b) {
    if (b < blocks() && !is_sealed(b)) continue;
    Slot fresh;
    fresh.open = store.allocate(block_bytes());
    fresh.data = fresh.open.data();
    if (b == blocks()) {
      blocks_.push_back(std::move(fresh));
    } else {
      Slot& old = blocks_[static_cast<std::size_t>(b)];
      std::memcpy(fresh.open.data(), old.data, block_bytes());
      old = std::move(fresh);
    }
  }
}

std::byte* BlockTable::mutable_row(std::int64_t i) {
  const auto b = static_cast<std::size_t>(i / rows_per_block_);
  V4I_CHECK(i >= 0 && b < blocks_.size() && !blocks_[b].open.empty());
  return blocks_[b].open.data() + static_cast<std::size_t>(i % rows_per_block_) * row_bytes_;
}

bool BlockTable::is_sealed(std::int64_t index) const {
  return blocks_[static_cast<std::size_t>(index)].sealed != nullptr;
}

void BlockTable::seal(std::int64_t index, const store::BlockKey& key, store::TierStack& store) {
  Slot& slot = blocks_[static_cast<std::size_t>(index)];
  V4I_CHECK(slot.sealed == nullptr);
  slot.sealed = store.seal(key, std::move(slot.open));
  slot.data = slot.sealed->bytes.data();
  slot.open.reset();
}

void BlockTable::truncate(std::int64_t rows) noexcept {
  const std::int64_t keep = (rows + rows_per_block_ - 1) / rows_per_block_;
  if (keep < blocks()) blocks_.erase(blocks_.begin() + keep, blocks_.end());
}

BlockTable BlockTable::fork(store::TierStack& store) const {
  BlockTable other(row_bytes_, rows_per_block_);
  other.blocks_.reserve(blocks_.size());
  for (const Slot& slot : blocks_) {
    Slot copy;
    copy.sealed = slot.sealed;
    copy.data = slot.data;
    if (slot.sealed == nullptr) {
      copy.open = store.allocate(block_bytes());
      std::memcpy(copy.open.data(), slot.data, block_bytes());
      copy.data = copy.open.data();
    }
    other.blocks_.push_back(std::move(copy));
  }
  return other;
}

}  // namespace v4i::kv
