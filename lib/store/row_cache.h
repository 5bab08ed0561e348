// RowCache: single rows of blocks that are not in memory, in slots of one size.
//
// Attention of an indexed layer reads a few hundred rows of a long context, and nine of ten are
// those of the token before: rows, not blocks, are what little memory should hold.
//
// A wave is a set of rows that are in memory together.  take() puts a row into the wave in work;
// its slot, filled by the caller where take() says so, stays until the next wave begins.  Which
// row of earlier waves makes room follows from how recently each was taken (second chance).
//
// Slots come in slabs of a Memory, granted by its Budget.  Slabs come and go between waves, while
// nobody reads rows (BlockCache sees to that with its Stay).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/base/budget.h"
#include "lib/store/memory.h"

namespace v4i::store {

class RowCache {
 public:
  static constexpr std::size_t kSlabRows = 64;

  // The rows of one block that are here.  It and its cache may go in any order.
  class Set {
   public:
    Set(std::shared_ptr<RowCache> cache, std::size_t rows);  // Error(kNoMemory)
    ~Set();
    Set(const Set&) = delete;
    Set& operator=(const Set&) = delete;
    // Of a row in the wave in work; null when it has no slot.
    std::byte* at(std::size_t row) const {
      return slots_[row] == 0 ? nullptr : cache_->address(slots_[row] - 1);
    }

   private:
    friend class RowCache;
    // It and what malloc adds to the list (tests/kv/resident_test.cc).
    static constexpr std::uint64_t kBookkeeping = 208;
    std::shared_ptr<RowCache> cache_;
    Counted counted_;
    Buffer<std::uint32_t> slots_;  // of each row, from 1 on; 0 = none
  };

  RowCache(std::shared_ptr<Memory> memory, std::size_t row_bytes)
      : memory_(std::move(memory)), row_bytes_(row_bytes) {}

  std::size_t row_bytes() const { return row_bytes_; }
  std::size_t rows() const { return slabs_.size() * kSlabRows; }  // there is room for
  std::uint64_t bytes() const { return slabs_.size() * slab_bytes(); }
  std::uint64_t slab_bytes() const { return slab_bytes(row_bytes_); }
  static std::uint64_t slab_bytes(std::size_t row_bytes);
  static constexpr std::size_t kSetBytes = sizeof(std::uint32_t);  // of a Set, per row

  // ---- one wave after the other, by one thread at a time
  enum class Taken { kThere, kEmpty, kFull };  // kEmpty: fill it; kFull: no slot is left
  class Taking {  // holds the cache's lock: not while a store is waited for
   public:
    explicit Taking(RowCache& cache) : cache_(cache), lock_(cache.mutex_) {}
    Taken take(Set& set, std::size_t row) { return cache_.take(set, row); }

   private:
    RowCache& cache_;
    const std::scoped_lock<std::mutex> lock_;
  };
  void begin_wave();
  void forget(Set& set, std::size_t row) noexcept;  // it was not filled

  // ---- between waves
  // A slab more.  `ask`: others are asked to give memory back for it, and Error(kNoMemory) is
  // thrown where there is none; else false.
  bool grow(bool ask);
  // Gives slabs back, but keeps at least `rows` rows; returns the bytes.
  std::uint64_t shrink(std::uint64_t bytes, std::size_t rows) noexcept;

  struct Stats {
    std::uint64_t hits = 0, misses = 0;  // of take()
    std::uint64_t replaced = 0;          // rows that made room for others
  };
  Stats stats() const;

 private:
  struct Owner {  // of a slot
    Set* set = nullptr;
    std::uint32_t row = 0;
    std::uint32_t wave : 31 = 0;  // that took it last
    std::uint32_t recent : 1 = 0;
  };
  struct Slab {
    Slot bytes;
    Buffer<Owner> owners;
  };
  std::byte* address(std::uint32_t slot) {
    return slabs_[slot / kSlabRows].bytes.data() + slot % kSlabRows * row_bytes_;
  }
  Owner& owner(std::uint32_t slot) { return slabs_[slot / kSlabRows].owners[slot % kSlabRows]; }
  Taken take(Set& set, std::size_t row);  // mutex_ is held, here and below
  std::uint32_t room();                   // an empty slot; one row makes room if need be
  void vacate(std::uint32_t slot) noexcept;
  void drop(Set& set) noexcept;

  std::shared_ptr<Memory> memory_;
  std::size_t row_bytes_;
  mutable std::mutex mutex_;  // of what follows
  std::vector<Slab> slabs_;   // changed between waves only
  std::vector<std::uint32_t> free_;
  std::uint32_t hand_ = 0, wave_ = 1;
  std::size_t in_wave_ = 0;  // rows of the wave in work
  Stats stats_;
};

}  // namespace v4i::store
