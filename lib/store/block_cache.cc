// Sharing by key, with the bytes compared before they are shared; leaving memory.  What passes
// between the cache and the store below it is in block_transfer.cc.
#include "lib/store/block_cache.h"

#include <algorithm>
#include <vector>

namespace v4i::store {

BlockCache::BlockCache(std::shared_ptr<Memory> memory, std::shared_ptr<BlockStore> below)
    : memory_(std::move(memory)), host_(memory_->budget()), below_(std::move(below)) {
  budget().add(this);
}

BlockCache::~BlockCache() {
  budget().remove(this);
  constexpr std::uint64_t kLastWait = 10'000'000'000;
  flush(kLastWait);  // the store may still read what it was given
}

BlockRef BlockCache::seal(const BlockKey& key, Slot&& slot) {
  auto block = std::make_shared<Block>();
  block->key = key;
  block->bytes = slot.bytes();
  block->memory = &slot.memory();
  BlockRef held;
  const Stay stay(*this);  // what is held stays until it was compared
  {
    const std::scoped_lock lock(mutex_);
    std::weak_ptr<Block>& entry = blocks_[key];
    held = entry.lock();
    block->used = ++clock_;
    if (held == nullptr) {
      // Nothing throws from here on, so `slot` is taken or untouched.
      block->slot = std::move(slot);
      block->here = true;
      entry = block;
      sweep();
    } else if (!held->here) {  // elsewhere or lost: computed again, so it is here again
      held->slot = std::move(slot);
      held->here = true;
      held->lost = false;
      block = std::move(held);
    }
  }
  if (held == nullptr) {
    put_below(block);
    return block;
  }
  block->slot = std::move(slot);
  block->here = true;
  const bool same = held->here && held->bytes == block->bytes &&
                    same_bytes(*block->memory, held->slot.data(), block->slot.data(), block->bytes);
  const std::scoped_lock lock(mutex_);
  ++(same ? stats_.shared : stats_.conflicts);
  held->used = ++clock_;
  return same ? held : block;
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
    const std::scoped_lock lock(store_mutex_);
    if (!below_->contains(key)) return nullptr;
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
  const std::scoped_lock lock(mutex_);
  stays_ += by;
}

std::uint64_t BlockCache::evictions() const {
  const std::scoped_lock lock(mutex_);
  return stats_.evicted;
}

void BlockCache::pin(std::span<const BlockRef> blocks, int by) noexcept {
  const std::scoped_lock lock(mutex_);
  ++clock_;
  for (const BlockRef& b : blocks) {
    if (b == nullptr) continue;
    b->pins += by;
    b->used = clock_;
  }
}

std::uint64_t BlockCache::give_back(Place place, std::uint64_t bytes) noexcept {
  if (below_ == nullptr || place != memory_->place()) return 0;
  try {
    const std::scoped_lock lock(mutex_);
    if (stays_ > 0) return 0;
    std::vector<BlockRef> leaving;
    for (const auto& [key, entry] : blocks_) {
      BlockRef b = entry.lock();
      if (b != nullptr && b->stored && b->pins == 0 && b->here && b->memory == memory_.get())
        leaving.push_back(std::move(b));
    }
    std::sort(leaving.begin(), leaving.end(),
              [](const BlockRef& a, const BlockRef& b) { return a->used < b->used; });
    std::uint64_t given = 0;
    for (const BlockRef& b : leaving) {
      if (given >= bytes) break;
      given += b->bytes;
      b->here = false;
      b->slot.reset();
      ++stats_.evicted;
    }
    return given;
  } catch (const std::bad_alloc&) {
    return 0;
  }
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
