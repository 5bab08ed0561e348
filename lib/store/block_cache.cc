// Sharing by key, with the bytes compared before they are shared; leaving memory.  What passes
// between the cache and the store below it is in block_transfer.cc.
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
  for (auto& [ticket, transfer] : transfers_) {
    budget().give(Place::kHost, Use::kKv, transfer.bytes.bytes());
    static_cast<void>(new Buffer<std::byte>(std::move(transfer.bytes)));
  }
}

BlockRef BlockCache::seal(const BlockKey& key, Slot&& slot) {
  auto block = std::make_shared<Block>();
  block->key = key;
  block->bytes = slot.bytes();
  block->memory = &slot.memory();
  block->used = tick();
  BlockRef held;
  bool same = false;
  {
    const Stay stay(*this);  // what is held stays until it was compared
    held = share(key, block, slot);
    same = held != nullptr && !slot.empty() && held->bytes == slot.bytes() &&
           same_bytes(*block->memory, held->slot.data(), slot.data(), slot.bytes());
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
  block->here = true;
  return block;
}

// Makes `block`, with the bytes of `slot`, the one of its key, and returns null; or returns the
// one that is there.  That one takes the bytes if it has none.
BlockRef BlockCache::share(const BlockKey& key, const BlockRef& block, Slot& slot) {
  const std::scoped_lock lock(mutex_);
  std::weak_ptr<Block>& entry = blocks_[key];
  BlockRef held = entry.lock();
  if (held != nullptr && held->here) return held;
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

BlockRef BlockCache::known(const BlockKey& key, std::size_t bytes, Memory& memory) {
  BlockRef held = find(key);
  if (held != nullptr) return held->bytes == bytes && !held->lost ? held : nullptr;
  if (below_ == nullptr) return nullptr;
  {
    const StoreLock lock(*this);
    if (!lock.owns() || !below_->contains(key)) return nullptr;  // busy: not worth a wait
  }
  auto block = std::make_shared<Block>();
  block->key = key;
  block->bytes = bytes;
  block->memory = &memory;
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

// Waits for layers that are being computed to end; new ones wait for this meanwhile.
std::uint64_t BlockCache::give_back(Place place, std::uint64_t bytes, std::uint64_t) noexcept {
  constexpr auto kLayer = std::chrono::seconds(5);
  if (below_ == nullptr || place != memory_->place()) return 0;
  if (const StoreLock own(*this); own.owns()) {
    try {
      drain(0);  // what was confirmed meanwhile may leave
    } catch (...) {
    }
  }
  std::unique_lock lock(mutex_);
  ++evicting_;
  std::uint64_t given = 0;
  if (stays_changed_.wait_for(lock, kLayer, [&] { return stays_ == 0; })) given = evict(bytes);
  --evicting_;
  stays_changed_.notify_all();
  return given;
}

std::uint64_t BlockCache::evict(std::uint64_t bytes) noexcept try {
  std::vector<std::pair<std::uint64_t, BlockRef>> leaving;  // by their last use, as it is now
  std::uint64_t all = 0;
  for (const auto& [key, entry] : blocks_) {
    BlockRef b = entry.lock();
    if (b == nullptr || !b->stored || b->pins > 0 || !b->here || b->memory != memory_.get())
      continue;
    all += b->bytes;
    const std::uint64_t used = b->used;
    leaving.emplace_back(used, std::move(b));
  }
  std::sort(leaving.begin(), leaving.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  const std::uint64_t wanted =
      std::min(bytes, all) + all / kEvictMore;  // so that the next one need not sort
  std::uint64_t given = 0;
  for (const auto& [used, b] : leaving) {
    if (given >= wanted) break;
    given += b->bytes;
    b->here = false;
    b->slot.reset();
    ++stats_.evicted;
  }
  return given;
} catch (const std::bad_alloc&) {
  return 0;
}

std::uint64_t BlockCache::stored_bytes(std::span<const BlockRef> blocks) const {
  std::uint64_t total = 0;
  const std::scoped_lock lock(mutex_);
  for (const BlockRef& b : blocks) total += b->stored ? b->bytes : 0;
  return total;
}

CacheStats BlockCache::stats() const {
  const std::scoped_lock lock(mutex_);
  CacheStats out = stats_;
  out.blocks = static_cast<std::uint64_t>(std::count_if(
      blocks_.begin(), blocks_.end(), [](const auto& entry) { return !entry.second.expired(); }));
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
