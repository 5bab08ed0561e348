// BlockTable: the growing rows of one layer, as blocks of `rows_per_block` rows.
//
// Full blocks are sealed: immutable, shared between forks and equal prefixes.  The
// last rows lie in open blocks that this table alone owns.  Writing into a sealed
// block (after a rewind) first copies it into an open one.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/store/tier_stack.h"

namespace v4i::kv {

class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(std::size_t row_bytes, int rows_per_block)
      : row_bytes_(row_bytes), rows_per_block_(rows_per_block) {}

  std::size_t row_bytes() const { return row_bytes_; }
  std::size_t block_bytes() const { return row_bytes_ * static_cast<std::size_t>(rows_per_block_); }
  bool used() const { return row_bytes_ != 0; }

  // Makes rows [first, last) writable; first is at most the rows there are.  When
  // this throws, rows are as before and truncate() gives back what was added.
  void reserve(std::int64_t first, std::int64_t last, store::TierStack& store);
  const std::byte* row(std::int64_t i) const {
    return blocks_[static_cast<std::size_t>(i / rows_per_block_)].data +
           static_cast<std::size_t>(i % rows_per_block_) * row_bytes_;
  }
  std::byte* mutable_row(std::int64_t i);  // in an open block

  bool is_sealed(std::int64_t index) const;
  // Gives block `index`, all of whose rows are final, to the store under `key`.
  void seal(std::int64_t index, const store::BlockKey& key, store::TierStack& store);
  void truncate(std::int64_t rows) noexcept;  // drops blocks with none of the first `rows`
  BlockTable fork(store::TierStack& store) const;
  std::int64_t blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  std::uint64_t bytes() const { return blocks_.size() * block_bytes(); }

 private:
  struct Slot {
    const std::byte* data = nullptr;
    store::BlockRef sealed;  // or
    Buffer<std::byte> open;
  };
  std::size_t row_bytes_ = 0;
  int rows_per_block_ = 64;
  std::vector<Slot> blocks_;
};

}  // namespace v4i::kv
