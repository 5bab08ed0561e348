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
// What was sealed is put into the store below, again later if it could not be put at once.  When
// the Budget is short, blocks that the store has confirmed leave memory: snapshots first, then
// blocks whose rows may be read one by one, then rows (RowCache), then the rest, and of each kind
// those first that were sealed, fetched or looked for the longest ago.
//
// In the store a block carries checksums (stored_form.h), so that a damaged or a foreign one is
// noticed and counts as lost.
//
// Any thread, but for rows: make_room_for_rows() to bring_rows() are called by who computes.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/store/block_store.h"
#include "lib/store/memory.h"
#include "lib/store/row_cache.h"
#include "lib/store/staging.h"
#include "lib/store/stored_form.h"

namespace v4i::store {

struct Block {
  // Of host memory, besides its bytes: it, its entries in the tables and lists of its cache and of
  // a sequence, and what malloc adds (tests/kv/resident_test.cc).
  static constexpr std::uint64_t kBookkeeping = 320;

  BlockKey key;
  BlockShape shape;
  Counted counted;
  std::unique_ptr<RowCache::Set> rows;         // by row, and a store is below
  Memory* memory = nullptr;                    // where it is when it is here
  std::atomic<bool> here{false}, lost{false};  // neither: elsewhere
  // The fields below belong to the cache and change under its mutex.  `slot` is read without it
  // while a Stay lives.
  Slot slot;
  bool stored = false;                 // the store below has confirmed it
  int pins = 0;                        // may not leave although no Stay lives
  int kept = 0;                        // leaves last
  bool listed = false;                 // among those that may leave
  std::atomic<std::uint64_t> used{0};  // the cache's clock when it was sealed, pinned or settled
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
  std::uint64_t here_bytes = 0, elsewhere_bytes = 0;  // of the blocks that somebody holds
  std::uint64_t row_bytes = 0;                        // room for single rows
  std::uint64_t row_hits = 0, row_misses = 0;         // rows that attention asked for
  std::uint64_t read_bytes = 0;                       // that came from the store below
};

// What attention asked for so far, and how long whoever computes waited for the store below.
struct RowCounts {
  std::uint64_t hits = 0, misses = 0, wait_ns = 0;
};

// A row that is to be brought.
struct RowMiss {
  const BlockRef* block = nullptr;
  std::uint32_t row = 0;
};

class BlockCache final : public Reclaimer {
 public:
  static constexpr std::size_t kLeastTransfers = 4;  // of blocks by row that there is room for
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
  // Of host(), with room for the checksum of its stored form behind `bytes`.
  Slot allocate_snapshot(std::size_t bytes) {
    return Slot(host_, bytes + sizeof(std::uint64_t), "a snapshot of a sequence");
  }

  // `slot`, of allocate() or allocate_snapshot(), is left as it was when this throws.  With
  // `row_bytes` its rows may be brought one by one; all such blocks of a cache have rows of one
  // size.
  BlockRef seal(const BlockKey& key, Slot&& slot, std::size_t row_bytes = 0);
  BlockRef find(const BlockKey& key);  // null when no session holds it
  // A block of `memory` that somebody holds, or that the store below says it has; else null.  It
  // may be elsewhere.  Waits while others use the store; kCancelled.
  BlockRef known(const BlockKey& key, const BlockShape& shape, Memory& memory,
                 const CancelFlag* cancel = nullptr);
  // It is wanted no more: the store below need not keep it, unless somebody else holds it.
  void discard(const BlockRef& block) noexcept;
  // Marks as lost those of `blocks` that are elsewhere and that the store below does not have.
  void probe(std::span<const BlockRef> blocks);

  // While one lives, blocks that are here stay here.  Waits for an eviction that has begun. Whoever
  // holds one takes nothing of the Budget.
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
  // Blocks that stay here, once they are, for as long as it lives and without a Stay.
  class Pin {
   public:
    Pin() = default;
    Pin(BlockCache& cache, std::vector<BlockRef> blocks)
        : cache_(&cache), blocks_(std::move(blocks)) {
      cache.pin(blocks_, 1);
    }
    Pin(Pin&& o) noexcept
        : cache_(std::exchange(o.cache_, nullptr)), blocks_(std::move(o.blocks_)) {}
    Pin& operator=(Pin&& o) noexcept {
      std::swap(cache_, o.cache_);
      std::swap(blocks_, o.blocks_);
      return *this;
    }
    ~Pin() {
      if (cache_ != nullptr) cache_->pin(blocks_, -1);
    }
    std::span<const BlockRef> blocks() const { return blocks_; }

   private:
    BlockCache* cache_ = nullptr;
    std::vector<BlockRef> blocks_;
  };
  // Blocks that are kept leave after all others.
  void keep(std::span<const BlockRef> blocks, int by) noexcept;
  // Fetches those of `blocks` that are elsewhere into memory; the rest is left alone.  Those that
  // do not come are marked lost.  Waits for the store, ten seconds at most for its next answer.
  // Error(kNoMemory) when memory does not suffice even after what is unpinned has left it;
  // kCancelled when `cancel`, which may be null, is set meanwhile.
  void bring(std::span<const BlockRef> blocks, const CancelFlag* cancel = nullptr);
  // Bytes [at, at + n) of a block for the host, wherever it is; false when it is lost.
  bool read(const BlockRef& block, std::size_t at, std::size_t n, void* to,
            const CancelFlag* cancel = nullptr);
  // body(its bytes) of a snapshot, wherever it is; false when it is lost.
  bool view(const BlockRef& snapshot, const CancelFlag* cancel,
            const std::function<void(const std::byte*)>& body);
  // The whole block into a slot of its memory; false when it is lost.
  bool copy(const BlockRef& block, Slot& to);

  // ---- single rows of blocks that are elsewhere, for who computes (row_transfer.cc)
  // Room for a wave of `rows` rows at least.  Without a Stay.  Error(kNoMemory).
  void make_room_for_rows(std::size_t rows);
  // More room for rows, or less for whole blocks, as the rows of late have shown.  Without a Stay.
  void balance_rows();
  bool has_room_for_rows(std::size_t rows) const {
    return rows_ != nullptr && rows_->rows() >= rows && staging_made_;
  }
  // With a Stay, until bring_rows() has returned and the rows are read.
  RowCache& rows() { return *rows_; }
  // Fills the slots of `misses`, which it sorts.  False: some block is lost (and marked).  Then,
  // and when this throws, rows that did not come have no slot any more.
  bool bring_rows(std::span<RowMiss> misses, const CancelFlag* cancel);

  // Gives up memory of blocks that the store below has; returns the bytes.
  std::uint64_t spill(std::uint64_t bytes) noexcept {
    return give_back(memory_->place(), bytes, 0);
  }
  // Puts what could not be put before; waits until the store below has answered every put, at most
  // `timeout_ns`.
  void flush(std::uint64_t timeout_ns);
  // The time, for Block::used.
  std::uint64_t tick() { return ++clock_; }

  std::uint64_t give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept override;
  // Of `blocks`, of those that the store below has.
  std::uint64_t stored_bytes(std::span<const BlockRef> blocks) const;
  CacheStats stats() const;
  RowCounts row_counts() const;  // costs nothing, unlike stats()
  std::size_t entries() const;   // of the table of keys, dead ones included

 private:
  static constexpr std::size_t kSweepAt = 1024;
  static constexpr std::size_t kMaxPuts = 64;        // under way; what is beyond them waits
  static constexpr std::size_t kMaxGets = 16;        // at a time
  static constexpr int kTries = 3;                   // of a get that fails or comes damaged
  static constexpr std::size_t kMaxForgotten = 256;  // gets that were given up and not answered
  static constexpr auto kPatience = std::chrono::seconds(10);  // for the next answer of a store
  static constexpr const char* kNoRoom = "host memory does not suffice to read from a KV store";
  static constexpr std::uint64_t kLook = 20'000'000;  // ns between looks at the cancel flag

  // Bytes on their way to or from the store below, for as long as it may touch them.
  struct Transfer {
    std::weak_ptr<Block> block;
    Buffer<std::byte> own;
    Staging::Piece staged;  // or
    Pin direct;             // or, of a put: a snapshot's own memory
    Slot slot;              // or, of a get: what will be a snapshot's memory
    std::byte* data() {
      if (!direct.blocks().empty()) return direct.blocks()[0]->slot.data();
      return staged ? staged.data() : slot.empty() ? own.data() : slot.data();
    }
    std::size_t size = 0;
    bool get = false;
    bool awaited = false;  // somebody wants the result of this get
    bool done = false;
    Completion result;
  };

  void stay(int by) noexcept;
  void pin(std::span<const BlockRef> blocks, int by) noexcept;
  static constexpr std::uint64_t kEvictMore = 32;  // of what may leave, a 32nd leaves besides
  BlockRef make_block(const BlockKey& key, const BlockShape& shape, Memory& memory);
  std::shared_ptr<RowCache> rows_of(const BlockShape& shape);
  BlockRef share(const BlockKey& key, const BlockRef& block, Slot& slot);
  // ---- block_leaving.cc; mutex_ is held, no Stay lives
  struct Leaving;
  std::vector<Leaving> leaving(Place place, std::uint64_t* held);  // what may, in turn
  std::uint64_t evict(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept;
  bool trade_blocks(std::uint64_t bytes) noexcept;       // by row, for rows; takes mutex_
  std::uint64_t collect(bool wait, bool* any) noexcept;  // takes the store's lock
  void list(const BlockRef& block);                      // it is here and may leave one day
  std::uint64_t let_go(std::span<const Leaving> blocks, std::uint64_t bytes) noexcept;
  void sweep();  // drops dead entries when the table has grown; mutex_ is held
  template <class Body>
  bool with_bytes(const BlockRef& block, const CancelFlag* cancel, Body&& body);
  void put_below(const BlockRef& block) noexcept;
  // Holds the store below for its thread.  A thread that has it already does not get it by trying.
  class StoreLock {
   public:
    explicit StoreLock(BlockCache& cache);                   // tries
    StoreLock(BlockCache& cache, const CancelFlag* cancel);  // waits; kCancelled
    ~StoreLock();
    StoreLock(const StoreLock&) = delete;
    StoreLock& operator=(const StoreLock&) = delete;
    bool owns() const { return owns_; }

   private:
    BlockCache& cache_;
    bool owns_ = false;
  };
  // store_mutex_ is held by the callers of these.
  // False: not yet.  `may_take`: memory of the Budget.
  bool put_now(const BlockRef& block, bool may_take);
  void put_waiting(bool may_take);
  void make_staging(const BlockShape& shape);
  // Hands a transfer to the store by `call`(bytes, ticket); its ticket, or 0 when it is refused.
  // Error(kNoMemory).
  template <class Call>
  std::uint64_t begin(Transfer&& transfer, Call&& call);
  void forget(std::uint64_t ticket) noexcept;       // it is dropped when it is reported
  void give_up(Block& block, const Transfer* got);  // what came, if it did, is no good
  void drain(std::uint64_t timeout_ns);
  void finish_put(const Transfer& t, const Completion& c);
  // The first of `blocks`, as many as there is memory for at a time; returns how many.  Those that
  // do not come may be asked for again, if this is not the last time.
  std::size_t fetch(std::span<const BlockRef> blocks, const CancelFlag* cancel, bool last);
  std::uint64_t begin_get(const BlockRef& block);   // a ticket, or 0; kNoMemory
  bool settle(const BlockRef& block, Transfer& t);  // false: it is not good
  void lose(Block& block) noexcept;
  class RowReads;

  std::shared_ptr<Memory> memory_;
  HostMemory host_;
  std::shared_ptr<BlockStore> below_;

  mutable std::mutex mutex_;
  std::unordered_map<BlockKey, std::weak_ptr<Block>, BlockKeyHash> blocks_;
  std::size_t sweep_at_ = kSweepAt;
  CacheStats stats_;
  std::atomic<std::uint64_t> clock_{0};
  int stays_ = 0, evicting_ = 0;
  std::condition_variable stays_changed_;
  std::vector<std::weak_ptr<Block>> waiting_;  // to be put below; of mutex_
  std::vector<std::weak_ptr<Block>> here_;     // blocks that are here, and some that no longer are
  std::shared_ptr<RowCache> rows_;             // made with the first block by row ...
  BlockShape rows_shape_;                      // ... of this shape
  std::atomic<std::size_t> rows_wanted_{0};    // rows that a wave needs

  std::mutex store_mutex_;  // of below_ and what follows; taken before mutex_
  std::atomic<std::thread::id> store_owner_{};
  std::uint64_t next_ticket_ = 1;
  std::size_t puts_ = 0;        // under way
  std::uint64_t refused_ = 0;   // puts that were answered with an error
  std::uint64_t returned_ = 0;  // bytes of transfers that have gone
  std::unordered_map<std::uint64_t, Transfer> transfers_;
  std::unique_ptr<Staging> staging_;  // for transfers of blocks by row
  std::atomic<bool> staging_made_{false};
  std::atomic<std::uint64_t> wait_ns_{0};
  std::uint64_t replaced_ = 0;  // rows_->stats().replaced when it grew last
};

template <class Call>
std::uint64_t BlockCache::begin(Transfer&& transfer, Call&& call) {
  const std::uint64_t ticket = next_ticket_++;
  Transfer& kept = transfers_.emplace(ticket, std::move(transfer)).first->second;
  try {
    call(std::span(kept.data(), kept.size), ticket);
    return ticket;
  } catch (const Error& e) {
    transfers_.erase(ticket);
    if (e.code() == Code::kNoMemory) throw;
    return 0;
  } catch (...) {
    transfers_.erase(ticket);
    throw;
  }
}

}  // namespace v4i::store
