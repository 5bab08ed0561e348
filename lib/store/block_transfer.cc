// Whole blocks on their way between a BlockCache and the store below it.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <vector>

#include "lib/base/hash.h"
#include "lib/store/block_cache.h"

namespace v4i::store {

namespace {

using Clock = std::chrono::steady_clock;

bool is_elsewhere(const Block& b) { return !b.here && !b.lost; }

}  // namespace

BlockCache::StoreLock::StoreLock(BlockCache& cache) : cache_(cache) {
  const std::thread::id me = std::this_thread::get_id();
  owns_ = cache.store_owner_ != me && cache.store_mutex_.try_lock();
  if (owns_) cache.store_owner_ = me;
}

BlockCache::StoreLock::StoreLock(BlockCache& cache, const CancelFlag* cancel) : cache_(cache) {
  constexpr auto kPause = std::chrono::microseconds(200);
  while (!cache.store_mutex_.try_lock()) {
    throw_if_cancelled(cancel);
    std::this_thread::sleep_for(kPause);
  }
  owns_ = true;
  cache.store_owner_ = std::this_thread::get_id();
}

BlockCache::StoreLock::~StoreLock() {
  if (!owns_) return;
  cache_.store_owner_ = std::thread::id();
  cache_.store_mutex_.unlock();
}

// Does not wait: a block that cannot be put now is put later, and stays in memory until then.
void BlockCache::put_below(const BlockRef& block) noexcept {
  if (below_ == nullptr) return;
  try {
    const StoreLock lock(*this);
    if (lock.owns()) {
      drain(0);
      put_waiting(true);
      if (put_now(block, true)) return;
    }
    const std::scoped_lock own(mutex_);
    waiting_.push_back(block);
  } catch (...) {
    // It is never put, and so never leaves memory.
  }
}

void BlockCache::put_waiting(bool may_take) {
  std::vector<std::weak_ptr<Block>> waiting;
  {
    const std::scoped_lock lock(mutex_);
    waiting.swap(waiting_);
  }
  std::erase_if(waiting, [&](const std::weak_ptr<Block>& entry) {
    const BlockRef block = entry.lock();
    return block == nullptr || (puts_ < kMaxPuts && put_now(block, may_take));
  });
  const std::scoped_lock lock(mutex_);
  waiting_.insert(waiting_.end(), waiting.begin(), waiting.end());
}

void BlockCache::make_staging(const BlockShape& shape) {
  if (staging_ != nullptr) return;
  staging_ = std::make_unique<Staging>(budget(), shape.stored_bytes(), kMaxPuts, kLeastTransfers);
  staging_made_ = true;
}

bool BlockCache::put_now(const BlockRef& block, bool may_take) {
  if (block->stored || !block->here) return true;
  if (puts_ >= kMaxPuts) return false;
  Transfer t;
  t.block = block;
  t.size = block->shape.stored_bytes();
  try {
    const bool own = block->memory != &host_;
    if (!own) t.direct = Pin(*this, {block});
    if (may_take && block->shape.by_row()) make_staging(block->shape);
    if (own && staging_ != nullptr && t.size <= staging_->piece_bytes())
      t.staged = staging_->take();
    if (own && !t.staged && !may_take) return false;
    if (own && !t.staged)
      t.own = Buffer<std::byte>(budget(), t.size, Use::kKv, "a block on its way to its store");
  } catch (const std::exception&) {
    return false;
  }
  {
    const Stay stay(*this);
    if (!block->here) return true;
    if (t.staged) std::memset(t.data(), 0, t.size);
    pack(block->shape, block->key, *block->memory, block->slot.data(), t.data());
  }
  const auto put = [&](std::span<const std::byte> bytes, std::uint64_t ticket) {
    below_->begin_put(block->key, bytes, ticket);
  };
  try {
    if (begin(std::move(t), put) == 0) return false;
  } catch (...) {  // as good as refused
    return false;
  }
  ++puts_;
  return true;
}

void BlockCache::forget(std::uint64_t ticket) noexcept {
  const auto it = transfers_.find(ticket);
  if (it == transfers_.end()) return;
  it->second.awaited = false;
  if (it->second.done) transfers_.erase(it);
}

void BlockCache::give_up(Block& block, const Transfer* got) {
  if (got != nullptr && got->result.status == Code::kOk)
    below_->erase_damaged(block.key);  // damaged, or another's
  lose(block);
}

void BlockCache::drain(std::uint64_t timeout_ns) {
  std::array<Completion, 32> some;
  for (;;) {
    const auto start = Clock::now();
    const std::size_t n = below_->poll(some, timeout_ns);
    if (timeout_ns > 0) wait_ns_ += static_cast<std::uint64_t>((Clock::now() - start).count());
    for (std::size_t i = 0; i < n; ++i) {
      const auto it = transfers_.find(some[i].ticket);
      if (it == transfers_.end() || it->second.done) continue;
      Transfer& t = it->second;
      t.done = true;
      t.result = some[i];
      if (!t.get) finish_put(t, some[i]);
      if (t.awaited) continue;
      returned_ += t.own.bytes();
      transfers_.erase(it);
    }
    if (n < some.size()) return;
    timeout_ns = 0;
  }
}

void BlockCache::finish_put(const Transfer& t, const Completion& c) {
  --puts_;
  const BlockRef block = t.block.lock();
  if (block == nullptr) return;
  const std::scoped_lock lock(mutex_);
  if (c.status != Code::kOk) {
    waiting_.push_back(block);
    ++refused_;
    return;
  }
  block->stored = true;
  ++stats_.puts;
}

void BlockCache::flush(std::uint64_t timeout_ns) {
  if (below_ == nullptr) return;
  const auto deadline = Clock::now() + std::chrono::nanoseconds(timeout_ns);
  const StoreLock lock(*this, nullptr);
  const std::uint64_t refused = refused_;
  do {
    if (refused_ == refused) put_waiting(true);  // a store that refuses is not asked on and on
    drain(std::min(timeout_ns, kLook));
  } while (puts_ > 0 && Clock::now() < deadline);
}

void BlockCache::bring(std::span<const BlockRef> blocks, const CancelFlag* cancel) {
  if (std::none_of(blocks.begin(), blocks.end(),
                   [](const BlockRef& b) { return is_elsewhere(*b); }))
    return;
  const StoreLock lock(*this, cancel);
  for (int tries = 1; tries <= kTries; ++tries) {
    std::vector<BlockRef> wanted;
    for (const BlockRef& b : blocks)
      if (is_elsewhere(*b)) wanted.push_back(b);
    std::sort(wanted.begin(), wanted.end());  // sessions that share a block name it twice
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    for (std::span<const BlockRef> rest = wanted; !rest.empty();) {
      const std::size_t some = std::min(rest.size(), kMaxGets);
      rest = rest.subspan(fetch(rest.first(some), cancel, tries == kTries));
    }
  }
}

void BlockCache::discard(const BlockRef& block) noexcept {
  if (below_ == nullptr || block.use_count() > 1) return;
  try {
    if (const StoreLock lock(*this); lock.owns()) below_->erase(block->key);
  } catch (...) {  // then it stays until the store makes room
  }
}

void BlockCache::probe(std::span<const BlockRef> blocks) {
  if (below_ == nullptr) return;
  const StoreLock lock(*this, nullptr);
  for (const BlockRef& b : blocks)
    if (is_elsewhere(*b) && !below_->contains(b->key)) lose(*b);
}

std::uint64_t BlockCache::begin_get(const BlockRef& block) {
  if (transfers_.size() - puts_ >= kMaxForgotten) return 0;
  Transfer t;
  t.get = t.awaited = true;
  t.size = block->shape.stored_bytes();
  if (block->memory == &host_)
    t.slot = allocate_snapshot(block->shape.bytes);
  else if (staging_ != nullptr && t.size <= staging_->piece_bytes())
    t.staged = staging_->take();
  if (t.slot.empty() && !t.staged)
    t.own = Buffer<std::byte>(budget(), t.size, Use::kKv, "a block on its way from its store");
  return begin(std::move(t), [&](std::span<std::byte> to, std::uint64_t ticket) {
    if (below_ == nullptr) fail(Code::kState, "there is no store");
    below_->begin_get(block->key, to, ticket);
  });
}

std::size_t BlockCache::fetch(std::span<const BlockRef> blocks, const CancelFlag* cancel,
                              bool last) {
  std::array<std::uint64_t, kMaxGets> tickets{};
  const auto forget_all = [&] {
    for (const std::uint64_t ticket : tickets) forget(ticket);
  };
  const auto waiting = [&] {
    return static_cast<std::size_t>(
        std::count_if(tickets.begin(), tickets.end(), [&](std::uint64_t ticket) {
          const auto it = transfers_.find(ticket);
          return it != transfers_.end() && !it->second.done;
        }));
  };
  try {
    for (std::size_t i = 0; i < blocks.size(); ++i) try {
        tickets[i] = begin_get(blocks[i]);
      } catch (const Error& e) {  // of the memory for it; some later
        if (e.code() != Code::kNoMemory || i == 0) throw;
        blocks = blocks.first(i);
      }
    auto deadline = Clock::now() + kPatience;
    for (std::size_t open = waiting(); open > 0 && Clock::now() < deadline;) {
      throw_if_cancelled(cancel);
      drain(kLook);
      const std::size_t now = waiting();
      if (now < open) deadline = Clock::now() + kPatience;
      open = now;
    }
    bool room = true;  // in the store below, to read into
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto it = transfers_.find(tickets[i]);
      const bool answered = it != transfers_.end() && it->second.done;
      if (answered && settle(blocks[i], it->second)) continue;
      if (answered && it->second.result.status == Code::kNoMemory) {
        room = false;
        continue;
      }
      const bool refused = tickets[i] == 0;
      const bool gone = answered ? it->second.result.status == Code::kState : !refused;
      if (last || gone) give_up(*blocks[i], answered ? &it->second : nullptr);
    }
    if (last && !room) fail(Code::kNoMemory, "{}", kNoRoom);
  } catch (...) {
    forget_all();
    throw;
  }
  forget_all();
  return blocks.size();
}

bool BlockCache::settle(const BlockRef& block, Transfer& t) {
  if (t.result.status != Code::kOk || t.result.bytes != t.size ||
      !intact(block->shape, block->key, t.data()))
    return false;
  Slot slot = std::move(t.slot);
  if (slot.empty()) {
    slot = allocate(block->shape.bytes);
    unpack(block->shape, *block->memory, t.data(), slot.data());
  }
  const std::scoped_lock lock(mutex_);
  stats_.read_bytes += t.size;
  if (block->here) return true;  // somebody has computed it meanwhile, and may be reading it
  list(block);
  block->slot = std::move(slot);
  block->used = tick();
  block->lost = false;
  block->here = true;
  ++stats_.fetched;
  return true;
}

void BlockCache::lose(Block& block) noexcept {
  const std::scoped_lock lock(mutex_);
  if (block.here) return;
  block.stored = false;
  block.lost = true;
  ++stats_.lost;
}

template <class Body>
bool BlockCache::with_bytes(const BlockRef& block, const CancelFlag* cancel, Body&& body) {
  const Pin pin(*this, {block});
  bring({&block, 1}, cancel);
  const bool here = block->here;
  if (here) body();
  return here;
}

bool BlockCache::read(const BlockRef& block, std::size_t at, std::size_t n, void* to,
                      const CancelFlag* cancel) {
  return with_bytes(block, cancel,
                    [&] { block->memory->download(to, block->slot.data() + at, n); });
}

bool BlockCache::view(const BlockRef& snapshot, const CancelFlag* cancel,
                      const std::function<void(const std::byte*)>& body) {
  V4I_CHECK(snapshot->memory == &host_);
  return with_bytes(snapshot, cancel, [&] { body(snapshot->slot.data()); });
}

bool BlockCache::copy(const BlockRef& block, Slot& to) {
  return with_bytes(block, nullptr, [&] {
    block->memory->copy(to.data(), block->slot.data(), block->shape.bytes);
  });
}

}  // namespace v4i::store
