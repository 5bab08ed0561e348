// BlockTable: the growing rows of one layer, as blocks of `rows_per_block` rows.
//
// Full blocks are sealed: immutable, shared between forks and equal prefixes; they may leave
// memory and come back (store::BlockCache).  The last rows lie in open blocks that this table
// alone owns.  Writing into a sealed block (after a rewind) first copies it into an open one.
//
// Rows are addresses in the cache's memory, for its backend to read and write.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/store/block_cache.h"

namespace v4i::kv {

class BlockTable {
 public:
  BlockTable() = default;
  // `by_row`: rows are wanted one by one, by RowWave, where blocks are elsewhere.
  BlockTable(std::size_t row_bytes, int rows_per_block, bool by_row = false)
      : row_bytes_(row_bytes),
        rows_per_block_(rows_per_block),
        shape_(store::rows_shape(row_bytes, static_cast<std::size_t>(rows_per_block))) {
    if (!by_row) shape_.row_bytes = 0;
  }

  std::size_t row_bytes() const { return row_bytes_; }
  std::size_t block_bytes() const { return shape_.bytes; }
  const store::BlockShape& shape() const { return shape_; }
  bool by_row() const { return shape_.by_row(); }
  bool used() const { return row_bytes_ != 0; }
  std::int64_t blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  std::uint64_t bytes() const;  // in memory; what is shared counts in every holder

  // Makes rows [first, last) writable; first is at most the rows there are.  When
  // this throws, rows are as before and truncate() gives back what was added.  False when a block
  // that would have to be copied is lost.
  bool reserve(std::int64_t first, std::int64_t last, store::BlockCache& cache);
  // Of a table that settle() has found whole since the last eviction, or a row of the wave in work.
  const std::byte* row(std::int64_t i) const {
    const Entry& e = blocks_[static_cast<std::size_t>(i / rows_per_block_)];
    const auto at = static_cast<std::size_t>(i % rows_per_block_);
    return e.data != nullptr ? e.data + at * row_bytes_ : e.sealed->rows->at(at);
  }
  std::int64_t row_in_block(std::int64_t i) const { return i % rows_per_block_; }
  std::byte* mutable_row(std::int64_t i);  // in an open block

  // Rows [first, first + count) of one block for the host, wherever it is; false when it is lost.
  bool read(std::int64_t first, std::int64_t count, store::BlockCache& cache, void* to) const;
  // Row `row` lies in a block that would have to be fetched.
  bool elsewhere(std::int64_t row) const {
    const Entry& e = blocks_[static_cast<std::size_t>(row / rows_per_block_)];
    return e.sealed != nullptr && !e.sealed->here;
  }

  bool is_sealed(std::int64_t index) const;
  const store::BlockRef& sealed(std::int64_t index) const {
    return blocks_[static_cast<std::size_t>(index)].sealed;
  }
  // Gives block `index`, all of whose rows are final, to the cache under `key`.
  void seal(std::int64_t index, const store::BlockKey& key, store::BlockCache& cache);
  // Appends a block that somebody else has sealed.
  void adopt(store::BlockRef block);
  void truncate(std::int64_t rows) noexcept;  // drops blocks with none of the first `rows`
  BlockTable fork(store::BlockCache& cache) const;

  // ---- where blocks are
  // Nothing has left memory since settle() found all blocks there: the cache counted `evictions`.
  bool settled(std::uint64_t evictions) const { return evictions == settled_at_; }
  // With a Stay, at that count: are all blocks in memory that have to be?  Of a table by row none
  // has to.
  bool whole() const { return elsewhere_ == 0; }  // after settle(): all of them are
  // Of a table by row, with a Stay: the block of a row that is not in memory as a whole, else null.
  const store::BlockRef* elsewhere_block(std::int64_t row);
  bool settle(std::uint64_t evictions, std::uint64_t now);      // `now`: for Block::used
  void sealed_blocks(std::vector<store::BlockRef>* out) const;  // appends them
  std::int64_t first_lost() const;  // index of the first block that is lost; blocks() when none is

 private:
  struct Entry {
    std::byte* data = nullptr;  // as settle() or the entry's maker saw it
    store::BlockRef sealed;     // or
    store::Slot open;
  };
  static constexpr std::uint64_t kUnsettled = ~std::uint64_t{0};
  std::size_t row_bytes_ = 0;
  int rows_per_block_ = 64;
  store::BlockShape shape_;
  std::uint64_t settled_at_ = kUnsettled;
  std::int64_t elsewhere_ = 0;  // blocks, as settle() found
  std::vector<Entry> blocks_;
};

}  // namespace v4i::kv
