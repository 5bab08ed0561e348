// How blocks leave memory.
#include <algorithm>
#include <chrono>
#include <vector>

#include "lib/store/block_cache.h"

namespace v4i::store {

// A block that may leave now, and when it has to.
struct BlockCache::Leaving {
  int turn = 0;
  std::uint64_t used = 0;  // as it is now
  BlockRef block;
};

namespace {

// What costs least to miss leaves first: snapshots are read when something has gone wrong, of
// blocks by row only a few rows are read a token, the rest is read whole every token.
enum Turn : int { kSnapshots = 0, kByRow = 1, kWhole = 2, kKept = 3 };

Turn turn_of(const Block& b, const Memory& rows) {
  if (b.kept > 0) return kKept;
  if (b.memory != &rows) return kSnapshots;
  return b.rows != nullptr ? kByRow : kWhole;
}

}  // namespace

// Takes what the store below has answered; returns the bytes of the Budget that came back with it.
// Waits for an answer to a put, for a while, when `wait` is set; `any` says whether one came.
std::uint64_t BlockCache::collect(bool wait, bool* any) noexcept try {
  constexpr auto kAnswer = std::chrono::seconds(1);
  constexpr auto kPause = std::chrono::microseconds(200);
  const StoreLock own(*this);
  if (!own.owns()) return 0;
  const std::uint64_t before = returned_;
  const std::size_t puts = puts_;
  const std::uint64_t refused = refused_;
  const auto deadline = std::chrono::steady_clock::now() + kAnswer;
  do {
    drain(wait ? 1'000'000 : 0);
    if (refused_ == refused) put_waiting(false);  // as in flush()
    *any = puts_ < puts || returned_ > before;
    if (wait && !*any) std::this_thread::sleep_for(kPause);  // a store's poll need not wait
  } while (wait && puts_ > 0 && !*any && std::chrono::steady_clock::now() < deadline);
  return returned_ - before;
} catch (...) {
  return 0;
}

// Waits for layers that are being computed to end; new ones wait for this meanwhile.
std::uint64_t BlockCache::give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept {
  constexpr auto kLayer = std::chrono::seconds(5);
  if (below_ == nullptr || (place != memory_->place() && place != Place::kHost)) return 0;
  bool any = false;
  std::uint64_t given = collect(false, &any);
  do {
    {
      std::unique_lock lock(mutex_);
      ++evicting_;
      if (given < bytes && stays_changed_.wait_for(lock, kLayer, [&] { return stays_ == 0; }))
        given += evict(place, bytes - given, keep);
      --evicting_;
      stays_changed_.notify_all();
    }
    if (given >= bytes) return given;
    any = false;
    given += collect(true, &any);  // what is confirmed now may leave
  } while (any);
  return given;
}

bool BlockCache::trade_blocks(std::uint64_t bytes) noexcept try {
  const std::scoped_lock lock(mutex_);
  if (stays_ > 0) return false;  // of somebody who saves; another time
  std::uint64_t held = 0;
  std::vector<Leaving> blocks = leaving(memory_->place(), &held);
  std::erase_if(blocks, [](const Leaving& l) { return l.turn != kByRow; });
  return let_go(blocks, bytes) > 0;
} catch (const std::bad_alloc&) {
  return false;
}

void BlockCache::list(const BlockRef& block) {
  if (below_ == nullptr || block->listed) return;
  here_.push_back(block);
  block->listed = true;
}

std::uint64_t BlockCache::let_go(std::span<const Leaving> blocks, std::uint64_t bytes) noexcept {
  std::uint64_t given = 0;
  for (const Leaving& l : blocks) {
    if (given >= bytes) break;
    given += l.block->shape.bytes;
    l.block->here = false;
    l.block->slot.reset();
    ++stats_.evicted;
  }
  return given;
}

// What may leave `place`, in turn; adds the bytes of all blocks that are there to `held`.
std::vector<BlockCache::Leaving> BlockCache::leaving(Place place, std::uint64_t* held) {
  std::vector<Leaving> out;
  std::erase_if(here_, [&](const std::weak_ptr<Block>& entry) {
    BlockRef b = entry.lock();
    if (b == nullptr) return true;
    if (!b->here) return !(b->listed = false);
    if (b->memory->place() != place) return false;
    *held += b->shape.bytes;
    if (b->stored && b->pins == 0) out.push_back({turn_of(*b, *memory_), b->used, std::move(b)});
    return false;
  });
  std::sort(out.begin(), out.end(), [](const Leaving& a, const Leaving& b) {
    return a.turn != b.turn ? a.turn < b.turn : a.used < b.used;
  });
  return out;
}

std::uint64_t BlockCache::evict(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept try {
  std::uint64_t held = rows_ != nullptr && memory_->place() == place ? rows_->bytes() : 0;
  const std::vector<Leaving> leaving = this->leaving(place, &held);
  const std::uint64_t most = held > keep ? held - keep : 0;
  const std::uint64_t wanted = std::min(bytes, most);
  const auto whole = std::find_if(leaving.begin(), leaving.end(),
                                  [](const Leaving& l) { return l.turn >= kWhole; });
  const auto first = static_cast<std::size_t>(whole - leaving.begin());
  if (wanted == 0) return 0;
  std::uint64_t by_row = 0;
  for (const Leaving& l : leaving)
    if (l.turn == kByRow) by_row += l.block->shape.bytes;
  // A little more than is wanted, so that the next one need not sort.
  std::uint64_t given =
      let_go({leaving.data(), first}, std::min(wanted + by_row / kEvictMore, most));
  if (given < wanted && rows_ != nullptr && memory_->place() == place)
    given += rows_->shrink(wanted - given, rows_wanted_);
  if (given < wanted)
    given += let_go({leaving.data() + first, leaving.size() - first}, wanted - given);
  return given;
} catch (const std::bad_alloc&) {
  return 0;
}

}  // namespace v4i::store
