// TierStack: the blocks of all sessions of a model, shared by content.
//
// seal() hands over a finished block.  When a block of that key is already there
// (a fork, or another session with the same prompt) the existing one is returned
// and the new bytes are dropped: equal prefixes are held once.  A block lives as
// long as somebody holds a BlockRef.
//
// The host tier is the first: its blocks are in memory, granted by the Budget, and
// readable in place.  Slower tiers join below it through BlockStore.
//
// Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "lib/base/budget.h"
#include "lib/store/block_store.h"

namespace v4i::store {

struct Block {
  BlockKey key;
  std::uint64_t checksum = 0;  // checksum64 of the bytes, set when sealed
  Buffer<std::byte> bytes;
};
using BlockRef = std::shared_ptr<const Block>;

class TierStack {
 public:
  explicit TierStack(Budget& budget) : budget_(&budget) {}

  Budget& budget() { return *budget_; }
  Buffer<std::byte> allocate(std::size_t bytes) {
    return Buffer<std::byte>(*budget_, bytes, Use::kKv, "a KV block");
  }
  // `bytes` is left as it was when this throws.
  BlockRef seal(const BlockKey& key, Buffer<std::byte>&& bytes);
  BlockRef find(const BlockKey& key);  // null when no session holds it

  std::uint64_t blocks() const;       // that somebody holds
  std::size_t entries() const;        // of the table of keys, dead ones included
  std::uint64_t shared_hits() const;  // how often seal() found the block already there
  // How often it found other bytes under the same key: a bug somewhere, so 0 in tests.
  std::uint64_t conflicts() const;

 private:
  static constexpr std::size_t kSweepAt = 1024;
  void sweep();  // drops dead entries when the table has grown; mutex_ is held

  Budget* budget_;
  mutable std::mutex mutex_;
  std::unordered_map<BlockKey, std::weak_ptr<const Block>, BlockKeyHash> blocks_;
  std::uint64_t shared_hits_ = 0;
  std::uint64_t conflicts_ = 0;
  std::size_t sweep_at_ = kSweepAt;
};

}  // namespace v4i::store
