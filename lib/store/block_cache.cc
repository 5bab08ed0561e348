// Sharing by key, with the bytes compared before they are shared.  What leaves memory, and when, is
// in block_leaving.cc; what passes between the cache and the store below it in block_transfer.cc
// and row_transfer.cc.
#include "lib/store/block_cache.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace v4i::store {

BlockCache::BlockCache(std::shared_ptr<Memory> memory, std::shared_ptr<BlockStore> below)
    : memory_(std::move(memory)), host_(memory_->budget()), below_(std::move(below)) {
  budget().add(this);
}

BlockCache::~BlockCache() {
  budget().remove(this);
  constexpr std::uint64_t kLastWait = 10'000'000'000;
  try {
    flush(kLastWait);
  } catch (...) {
  }
  // The store may still write to what it has not answered: that memory is never freed.
  bool staged = false;
  for (auto& [ticket, transfer] : transfers_) {
    staged = staged || transfer.staged;
    if (!transfer.slot.empty()) static_cast<void>(new Slot(std::move(transfer.slot)));
    for (const BlockRef& b : transfer.direct.blocks()) static_cast<void>(new BlockRef(b));
    budget().give(Place::kHost, Use::kKv, transfer.own.bytes());
    static_cast<void>(new Buffer<std::byte>(std::move(transfer.own)));
  }
  transfers_.clear();
  if (staged) {
    budget().give(Place::kHost, Use::kKv, staging_->bytes());
    static_cast<void>(staging_.release());
  }
}

std::shared_ptr<RowCache> BlockCache::rows_of(const BlockShape& shape) {
  const std::scoped_lock lock(mutex_);
  if (rows_ == nullptr) {
    rows_ = std::make_shared<RowCache>(memory_, shape.row_bytes);
    rows_shape_ = shape;
  }
  V4I_CHECK(rows_shape_ == shape);
  return rows_;
}

BlockRef BlockCache::make_block(const BlockKey& key, const BlockShape& shape, Memory& memory) {
  // Not make_shared: names in lists would keep all of a block that is gone.
  const BlockRef block(new Block);
  block->counted =
      Counted(budget(), Block::kBookkeeping, Use::kKv, "the bookkeeping of a KV block");
  block->key = key;
  block->shape = shape;
  block->memory = &memory;
  block->used = tick();
  if (below_ != nullptr && shape.by_row())
    block->rows = std::make_unique<RowCache::Set>(rows_of(shape), shape.rows());
  return block;
}

BlockRef BlockCache::seal(const BlockKey& key, Slot&& slot, std::size_t row_bytes) {
  BlockShape shape{slot.bytes(), 0};
  if (&slot.memory() == &host_) shape.bytes -= sizeof(std::uint64_t);
  if (row_bytes != 0) shape = rows_shape(row_bytes, slot.bytes() / row_bytes);
  const BlockRef block = make_block(key, shape, slot.memory());
  BlockRef held;
  bool same = false;
  {
    const Stay stay(*this);  // what is held stays until it was compared
    held = share(key, block, slot);
    same = held != nullptr && !slot.empty() && held->shape == shape &&
           same_bytes(*block->memory, held->slot.data(), slot.data(), shape.bytes);
  }
  if (held == nullptr || slot.empty()) {  // `block`, or the one that is held, took the bytes
    const BlockRef& fresh = held == nullptr ? block : held;
    put_below(fresh);
    return fresh;
  }
  held->used = tick();
  const std::scoped_lock lock(mutex_);
  ++(same ? stats_.shared : stats_.conflicts);
  if (same) return held;
  block->slot = std::move(slot);
  block->here = true;  // and stays: only one of a key is put below
  return block;
}

// Makes `block`, with the bytes of `slot`, the one of its key, and returns null; or returns the
// one that is there.  That one takes the bytes if it has none.
BlockRef BlockCache::share(const BlockKey& key, const BlockRef& block, Slot& slot) {
  const std::scoped_lock lock(mutex_);
  std::weak_ptr<Block>& entry = blocks_[key];
  BlockRef held = entry.lock();
  if (held != nullptr && held->here) return held;
  list(held != nullptr ? held : block);
  // Nothing throws from here on, so `slot` is taken or untouched.
  Block& to = held != nullptr ? *held : *block;
  to.slot = std::move(slot);
  to.used = block->used.load();
  to.lost = false;
  to.here = true;
  if (held != nullptr) return held;
  entry = block;
  sweep();
  return nullptr;
}

BlockRef BlockCache::find(const BlockKey& key) {
  const std::scoped_lock lock(mutex_);
  const auto it = blocks_.find(key);
  return it == blocks_.end() ? nullptr : it->second.lock();
}

BlockRef BlockCache::known(const BlockKey& key, const BlockShape& shape, Memory& memory,
                           const CancelFlag* cancel) {
  BlockRef held = find(key);
  if (held != nullptr) return held->shape == shape && !held->lost ? held : nullptr;
  if (below_ == nullptr) return nullptr;
  {
    const StoreLock lock(*this, cancel);
    if (!below_->contains(key)) return nullptr;
  }
  const BlockRef block = make_block(key, shape, memory);
  block->stored = true;
  const std::scoped_lock lock(mutex_);
  std::weak_ptr<Block>& entry = blocks_[key];
  held = entry.lock();
  if (held != nullptr) return held;
  entry = block;
  sweep();
  return block;
}

void BlockCache::stay(int by) noexcept {
  std::unique_lock lock(mutex_);
  if (by > 0) stays_changed_.wait(lock, [&] { return evicting_ == 0; });
  stays_ += by;
  if (stays_ == 0) stays_changed_.notify_all();
}

std::uint64_t BlockCache::evictions() const {
  const std::scoped_lock lock(mutex_);
  return stats_.evicted;
}

void BlockCache::pin(std::span<const BlockRef> blocks, int by) noexcept {
  const std::uint64_t now = tick();
  const std::scoped_lock lock(mutex_);
  for (const BlockRef& b : blocks) {
    b->pins += by;
    b->used = now;
  }
}

void BlockCache::keep(std::span<const BlockRef> blocks, int by) noexcept {
  const std::scoped_lock lock(mutex_);
  for (const BlockRef& b : blocks) b->kept += by;
}

std::uint64_t BlockCache::stored_bytes(std::span<const BlockRef> blocks) const {
  std::uint64_t total = 0;
  const std::scoped_lock lock(mutex_);
  for (const BlockRef& b : blocks) total += b->stored ? b->shape.bytes : 0;
  return total;
}

CacheStats BlockCache::stats() const {
  const std::scoped_lock lock(mutex_);
  CacheStats out = stats_;
  for (const auto& [key, entry] : blocks_) {
    const BlockRef b = entry.lock();
    if (b == nullptr) continue;
    ++out.blocks;
    (b->here ? out.here_bytes : out.elsewhere_bytes) += b->shape.bytes;
  }
  if (rows_ == nullptr) return out;
  const RowCache::Stats rows = rows_->stats();
  out.row_bytes = rows_->bytes();
  out.row_hits = rows.hits;
  out.row_misses = rows.misses;
  return out;
}

RowCounts BlockCache::row_counts() const {
  RowCounts out;
  out.wait_ns = wait_ns_;
  const std::scoped_lock lock(mutex_);
  if (rows_ == nullptr) return out;
  const RowCache::Stats rows = rows_->stats();
  out.hits = rows.hits;
  out.misses = rows.misses;
  return out;
}

std::size_t BlockCache::entries() const {
  const std::scoped_lock lock(mutex_);
  return blocks_.size();
}

void BlockCache::sweep() {
  if (blocks_.size() < sweep_at_) return;
  std::erase_if(blocks_, [](const auto& entry) { return entry.second.expired(); });
  sweep_at_ = std::max<std::size_t>(kSweepAt, 2 * blocks_.size());
}

}  // namespace v4i::store
