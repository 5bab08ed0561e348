// TierStack: sharing by key, with the bytes compared before they are shared.
#include "lib/store/tier_stack.h"

#include <algorithm>

#include "lib/base/hash.h"

namespace v4i::store {

namespace {

// Keys are content names, so different bytes under one key mean that some
// computation was not deterministic.  Such a block stays private: never wrong text.
bool same_bytes(const Block& a, const Block& b) {
  return a.checksum == b.checksum && a.bytes.size() == b.bytes.size() &&
         std::equal(a.bytes.data(), a.bytes.data() + a.bytes.size(), b.bytes.data());
}

}  // namespace

BlockRef TierStack::seal(const BlockKey& key, Buffer<std::byte>&& bytes) {
  auto block = std::make_shared<Block>();
  block->key = key;
  block->checksum = checksum64(bytes.data(), bytes.size());
  BlockRef held;
  {
    const std::scoped_lock lock(mutex_);
    std::weak_ptr<const Block>& entry = blocks_[key];
    held = entry.lock();
    if (held == nullptr) {
      // Nothing throws from here on, so `bytes` is taken or untouched.
      block->bytes = std::move(bytes);
      entry = block;
      sweep();
      return block;
    }
  }
  block->bytes = std::move(bytes);
  const bool same = same_bytes(*held, *block);
  const std::scoped_lock lock(mutex_);
  ++(same ? shared_hits_ : conflicts_);
  return same ? held : block;
}

BlockRef TierStack::find(const BlockKey& key) {
  const std::scoped_lock lock(mutex_);
  const auto it = blocks_.find(key);
  return it == blocks_.end() ? nullptr : it->second.lock();
}

std::uint64_t TierStack::blocks() const {
  const std::scoped_lock lock(mutex_);
  return static_cast<std::uint64_t>(std::count_if(
      blocks_.begin(), blocks_.end(), [](const auto& entry) { return !entry.second.expired(); }));
}

std::size_t TierStack::entries() const {
  const std::scoped_lock lock(mutex_);
  return blocks_.size();
}

std::uint64_t TierStack::shared_hits() const {
  const std::scoped_lock lock(mutex_);
  return shared_hits_;
}

std::uint64_t TierStack::conflicts() const {
  const std::scoped_lock lock(mutex_);
  return conflicts_;
}

void TierStack::sweep() {
  if (blocks_.size() < sweep_at_) return;
  std::erase_if(blocks_, [](const auto& entry) { return entry.second.expired(); });
  sweep_at_ = std::max<std::size_t>(kSweepAt, 2 * blocks_.size());
}

}  // namespace v4i::store
