// HostStore: a BlockStore in host memory, granted by the Budget.
//
// Holds up to `capacity` bytes; the block not asked for longest goes first when room
// is needed.  Work is done in begin_*() (a copy) and reported by the next poll().
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <unordered_map>

#include "lib/base/budget.h"
#include "lib/store/block_store.h"

namespace v4i::store {

class HostStore final : public BlockStore {
 public:
  HostStore(Budget& budget, std::uint64_t capacity) : budget_(&budget), capacity_(capacity) {}

  void begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override;
  void begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) override;
  std::size_t poll(std::span<Completion> out, std::uint64_t timeout_ns) override;
  bool contains(const BlockKey& key) override { return blocks_.contains(key); }
  void erase(const BlockKey& key) override;
  std::uint64_t bytes_used() const override { return used_; }
  std::uint64_t evictions() const { return evictions_; }

 private:
  struct Entry {
    Buffer<std::byte> bytes;
    std::list<BlockKey>::iterator age;
  };
  Buffer<std::byte> make_room(std::uint64_t bytes);
  void evict_oldest();

  Budget* budget_;
  std::uint64_t capacity_, used_ = 0, evictions_ = 0;
  std::unordered_map<BlockKey, Entry, BlockKeyHash> blocks_;
  std::list<BlockKey> ages_;  // the longest unused first
  std::deque<Completion> done_;
};

}  // namespace v4i::store
