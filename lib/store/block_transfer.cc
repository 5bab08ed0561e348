// What passes between a BlockCache and the store below it.
//
// Stored form of a block: its bytes, then checksum64 of them, seeded by the key.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "lib/base/hash.h"
#include "lib/store/block_cache.h"

namespace v4i::store {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(10);  // for the next answer of a store
constexpr std::uint64_t kLook = 20'000'000;           // ns between looks at the cancel flag

std::uint64_t seed_of(const BlockKey& key) {
  std::uint64_t seed;
  std::memcpy(&seed, key.bytes.data(), sizeof seed);
  return seed;
}

bool is_elsewhere(const Block& b) { return !b.here && !b.lost; }

bool intact(const Block& block, const Buffer<std::byte>& stored) {
  std::uint64_t sum;
  std::memcpy(&sum, stored.data() + block.bytes, sizeof sum);
  return sum == checksum64(stored.data(), block.bytes, seed_of(block.key));
}

}  // namespace

// A block that cannot be put now is not stored, and so stays in memory.
void BlockCache::put_below(const BlockRef& block) noexcept {
  if (below_ == nullptr) return;
  const std::scoped_lock lock(store_mutex_);
  std::uint64_t ticket = 0;
  try {
    drain(0);
    if (block->stored || transfers_.size() >= kMaxPuts) return;
    Transfer t;
    t.block = block;
    t.bytes = Buffer<std::byte>(budget(), block->bytes + sizeof(std::uint64_t), Use::kKv,
                                "a block on its way to its store");
    {
      const Stay stay(*this);
      block->memory->download(t.bytes.data(), block->slot.data(), block->bytes);
    }
    const std::uint64_t sum = checksum64(t.bytes.data(), block->bytes, seed_of(block->key));
    std::memcpy(t.bytes.data() + block->bytes, &sum, sizeof sum);
    ticket = next_ticket_++;
    const Transfer& kept = transfers_.emplace(ticket, std::move(t)).first->second;
    below_->begin_put(block->key, {kept.bytes.data(), kept.bytes.size()}, ticket);
  } catch (...) {
    transfers_.erase(ticket);
  }
}

void BlockCache::drain(std::uint64_t timeout_ns) {
  std::array<Completion, 32> some;
  for (;;) {
    const std::size_t n = below_->poll(some, timeout_ns);
    for (std::size_t i = 0; i < n; ++i) {
      const auto it = transfers_.find(some[i].ticket);
      if (it == transfers_.end() || it->second.done) continue;
      Transfer& t = it->second;
      t.done = true;
      t.result = some[i];
      if (!t.get) finish_put(t, some[i]);
      if (!t.awaited) transfers_.erase(it);
    }
    if (n < some.size()) return;
    timeout_ns = 0;
  }
}

void BlockCache::finish_put(const Transfer& t, const Completion& c) {
  const BlockRef block = t.block.lock();
  if (block == nullptr || c.status != Code::kOk) return;
  const std::scoped_lock lock(mutex_);
  block->stored = true;
  ++stats_.puts;
}

void BlockCache::flush(std::uint64_t timeout_ns) {
  if (below_ == nullptr) return;
  const auto deadline = Clock::now() + std::chrono::nanoseconds(timeout_ns);
  const std::scoped_lock lock(store_mutex_);
  do {
    drain(std::min(timeout_ns, kLook));
  } while (!transfers_.empty() && Clock::now() < deadline);
}

void BlockCache::bring(std::span<const BlockRef> blocks, const CancelFlag* cancel) {
  const std::scoped_lock lock(store_mutex_);
  std::array<BlockRef, kMaxGets> some;
  std::size_t n = 0;
  for (const BlockRef& b : blocks) {
    if (b == nullptr || !is_elsewhere(*b)) continue;
    some[n++] = b;
    if (n == some.size()) fetch({some.data(), std::exchange(n, 0)}, cancel);
  }
  if (n > 0) fetch({some.data(), n}, cancel);
}

void BlockCache::probe(std::span<const BlockRef> blocks) {
  if (below_ == nullptr) return;
  const std::scoped_lock lock(store_mutex_);
  for (const BlockRef& b : blocks)
    if (b != nullptr && is_elsewhere(*b) && !below_->contains(b->key)) lose(*b);
}

std::uint64_t BlockCache::begin_get(const BlockRef& block) {
  Transfer t;
  t.get = t.awaited = true;
  t.bytes = Buffer<std::byte>(budget(), block->bytes + sizeof(std::uint64_t), Use::kKv,
                              "a block on its way from its store");
  const std::uint64_t ticket = next_ticket_++;
  Transfer& kept = transfers_.emplace(ticket, std::move(t)).first->second;
  try {
    if (below_ == nullptr) fail(Code::kState, "there is no store");
    below_->begin_get(block->key, {kept.bytes.data(), kept.bytes.size()}, ticket);
  } catch (const Error&) {
    transfers_.erase(ticket);
    return 0;
  }
  return ticket;
}

void BlockCache::fetch(std::span<const BlockRef> blocks, const CancelFlag* cancel) {
  std::array<std::uint64_t, kMaxGets> tickets{};
  const auto forget = [&] {  // what is still under way is dropped when it is reported
    for (const std::uint64_t ticket : tickets) {
      const auto it = transfers_.find(ticket);
      if (it == transfers_.end()) continue;
      it->second.awaited = false;
      if (it->second.done) transfers_.erase(it);
    }
  };
  const auto waiting = [&] {
    return std::any_of(tickets.begin(), tickets.end(), [&](std::uint64_t ticket) {
      const auto it = transfers_.find(ticket);
      return it != transfers_.end() && !it->second.done;
    });
  };
  try {
    for (std::size_t i = 0; i < blocks.size(); ++i) tickets[i] = begin_get(blocks[i]);
    const auto deadline = Clock::now() + kPatience;
    while (waiting() && Clock::now() < deadline) {
      throw_if_cancelled(cancel);
      drain(kLook);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto it = transfers_.find(tickets[i]);
      if (it != transfers_.end() && it->second.done)
        settle(blocks[i], it->second);
      else
        lose(*blocks[i]);
    }
  } catch (...) {
    forget();
    throw;
  }
  forget();
}

void BlockCache::settle(const BlockRef& block, const Transfer& t) {
  const bool good =
      t.result.status == Code::kOk && t.result.bytes == t.bytes.size() && intact(*block, t.bytes);
  if (!good) {
    if (t.result.status == Code::kOk) below_->erase(block->key);  // damaged, or another's
    return lose(*block);
  }
  Slot slot(*block->memory, block->bytes, "a KV block");
  block->memory->upload(slot.data(), t.bytes.data(), block->bytes);
  const std::scoped_lock lock(mutex_);
  if (block->here) return;  // somebody has computed it meanwhile, and may be reading it
  block->slot = std::move(slot);
  block->here = true;
  ++stats_.fetched;
}

void BlockCache::lose(Block& block) noexcept {
  const std::scoped_lock lock(mutex_);
  block.stored = false;
  if (block.here) return;
  block.lost = true;
  ++stats_.lost;
}

template <class Body>
bool BlockCache::with_bytes(const BlockRef& block, Body&& body) {
  pin({&block, 1}, 1);
  try {
    bring({&block, 1});
    const bool here = block->here;
    if (here) body();
    pin({&block, 1}, -1);
    return here;
  } catch (...) {
    pin({&block, 1}, -1);
    throw;
  }
}

bool BlockCache::read(const BlockRef& block, std::size_t at, std::size_t n, void* to) {
  return with_bytes(block, [&] { block->memory->download(to, block->slot.data() + at, n); });
}

bool BlockCache::copy(const BlockRef& block, Slot& to) {
  return with_bytes(block,
                    [&] { block->memory->copy(to.data(), block->slot.data(), block->bytes); });
}

}  // namespace v4i::store
