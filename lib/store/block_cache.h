// BlockCache: the blocks of all sessions of a model, shared by content, in the backend's memory
// and, where there is a BlockStore below it, there too.
//
//   here       the bytes are in memory; whoever holds a BlockRef and a Stay may use them
//   elsewhere  only the store below has them; bring() fetches them
//   lost       the store below has lost or damaged them; the owner computes them again
//
// seal() hands over a finished block.  When a block of that key is already there (a fork, or
// another session with the same prompt) the existing one is returned and the new bytes are
// dropped: equal prefixes are held once.  A block lives as long as somebody holds a BlockRef.
// What was sealed is put into the store below at once; when the Budget is short, blocks that the
// store has confirmed leave memory, the longest unused first.
//
// In the store a block is its bytes and a checksum of key and bytes, so that a damaged or a
// foreign block is noticed and counts as lost.
//
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>

#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/store/block_store.h"
#include "lib/store/memory.h"

namespace v4i::store {

struct Block {
  BlockKey key;
  std::size_t bytes = 0;
  Memory* memory = nullptr;                    // where it is when it is here
  std::atomic<bool> here{false}, lost{false};  // neither: elsewhere
  // The fields below belong to the cache and change under its mutex.  `slot` is read without it
  // while a Stay lives.
  Slot slot;
  bool stored = false;     // the store below has confirmed it
  int pins = 0;            // may not leave although no Stay lives
  std::uint64_t used = 0;  // the cache's clock at its last use
};
using BlockRef = std::shared_ptr<Block>;

struct CacheStats {
  std::uint64_t blocks = 0;     // that somebody holds, here or elsewhere
  std::uint64_t shared = 0;     // seal() found the block already there
  std::uint64_t conflicts = 0;  // ... with other bytes: a bug somewhere, so 0 in tests
  std::uint64_t puts = 0;       // confirmed by the store below
  std::uint64_t evicted = 0;    // left memory
  std::uint64_t fetched = 0;    // came back
  std::uint64_t lost = 0;       // did not come back, or came back damaged
};

class BlockCache final : public Reclaimer {
 public:
  // `below` may be null: then blocks never leave memory.
  explicit BlockCache(std::shared_ptr<Memory> memory, std::shared_ptr<BlockStore> below = nullptr);
  // In the host's memory.
  explicit BlockCache(Budget& budget, std::shared_ptr<BlockStore> below = nullptr)
      : BlockCache(std::make_shared<HostMemory>(budget), std::move(below)) {}
  ~BlockCache() override;
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  Memory& memory() { return *memory_; }  // of KV rows: the backend's
  Memory& host() { return host_; }       // of snapshots
  Budget& budget() { return memory_->budget(); }
  bool has_store() const { return below_ != nullptr; }
  Slot allocate(std::size_t bytes) { return Slot(*memory_, bytes, "a KV block"); }

  // `slot`, of memory() or host(), is left as it was when this throws.
  BlockRef seal(const BlockKey& key, Slot&& slot);
  BlockRef find(const BlockKey& key);  // null when no session holds it
  // A block of `memory` that somebody holds, or that the store below says it has; else null.  It
  // may be elsewhere.
  BlockRef known(const BlockKey& key, std::size_t bytes, Memory& memory);
  // Marks as lost those of `blocks` that are elsewhere and that the store below does not have.
  void probe(std::span<const BlockRef> blocks);

  // While one lives, blocks that are here stay here.
  class Stay {
   public:
    Stay() = default;
    explicit Stay(BlockCache& cache) : cache_(&cache) { cache.stay(1); }
    ~Stay() { reset(); }
    Stay(Stay&& o) noexcept : cache_(std::exchange(o.cache_, nullptr)) {}
    Stay& operator=(Stay&& o) noexcept {
      std::swap(cache_, o.cache_);
      return *this;
    }
    void reset() noexcept {
      if (cache_ != nullptr) cache_->stay(-1);
      cache_ = nullptr;
    }

   private:
    BlockCache* cache_ = nullptr;
  };

  // Changes with every block that leaves memory: who has seen its blocks here at this number,
  // with a Stay, still finds them here.
  std::uint64_t evictions() const;
  // Pinned blocks stay here without a Stay; pin(+1) and pin(-1) come in pairs.
  void pin(std::span<const BlockRef> blocks, int by) noexcept;
  // Fetches those of `blocks` that are elsewhere into memory; the rest is left alone.  Those that
  // do not come are marked lost.  Waits for the store, ten seconds at most for the next answer.
  // Error(kNoMemory) when memory does not suffice even after what is unpinned has left it;
  // kCancelled when `cancel`, which may be null, is set meanwhile.
  void bring(std::span<const BlockRef> blocks, const CancelFlag* cancel = nullptr);
  // Bytes [at, at + n) of a block for the host, wherever it is; false when it is lost.
  bool read(const BlockRef& block, std::size_t at, std::size_t n, void* to);
  // The whole block into a slot of its memory; false when it is lost.
  bool copy(const BlockRef& block, Slot& to);
  // Gives up memory of blocks that the store below has; returns the bytes.
  std::uint64_t spill(std::uint64_t bytes) noexcept { return give_back(memory_->place(), bytes); }
  // Waits until the store below has answered every put, at most `timeout_ns`.
  void flush(std::uint64_t timeout_ns);

  std::uint64_t give_back(Place place, std::uint64_t bytes) noexcept override;
  CacheStats stats() const;
  std::size_t entries() const;  // of the table of keys, dead ones included

 private:
  static constexpr std::size_t kSweepAt = 1024;
  static constexpr std::size_t kMaxPuts = 64;  // under way; a block beyond them is not stored
  static constexpr std::size_t kMaxGets = 16;

  // Bytes on their way to or from the store below, for as long as it may touch them.
  struct Transfer {
    std::weak_ptr<Block> block;
    Buffer<std::byte> bytes;
    bool get = false;
    bool awaited = false;  // somebody wants the result of this get
    bool done = false;
    Completion result;
  };

  void stay(int by) noexcept;
  void sweep();  // drops dead entries when the table has grown; mutex_ is held
  template <class Body>
  bool with_bytes(const BlockRef& block, Body&& body);
  void put_below(const BlockRef& block) noexcept;
  // store_mutex_ is held by the callers of these.
  void drain(std::uint64_t timeout_ns);
  void finish_put(const Transfer& t, const Completion& c);
  void fetch(std::span<const BlockRef> blocks, const CancelFlag* cancel);
  std::uint64_t begin_get(const BlockRef& block);  // a ticket, or 0
  void settle(const BlockRef& block, const Transfer& t);
  void lose(Block& block) noexcept;

  std::shared_ptr<Memory> memory_;
  HostMemory host_;
  std::shared_ptr<BlockStore> below_;

  mutable std::mutex mutex_;
  std::unordered_map<BlockKey, std::weak_ptr<Block>, BlockKeyHash> blocks_;
  std::size_t sweep_at_ = kSweepAt;
  CacheStats stats_;
  std::uint64_t clock_ = 0;
  int stays_ = 0;

  std::mutex store_mutex_;  // of below_ and what follows; taken before mutex_
  std::uint64_t next_ticket_ = 1;
  std::unordered_map<std::uint64_t, Transfer> transfers_;
};

}  // namespace v4i::store
