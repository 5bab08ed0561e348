// Single rows of blocks that are elsewhere: by pages where the store below reads parts, else by
// whole blocks.
#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <vector>

#include "lib/store/block_cache.h"

namespace v4i::store {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

// The reads of one bring_rows().  Rows that have come no longer name their block.
class BlockCache::RowReads {
 public:
  RowReads(BlockCache& cache, std::span<RowMiss> misses);  // by block, then row
  ~RowReads() {
    for (const RowMiss& m : misses_)
      if (m.block != nullptr) cache_.rows_->forget(*(*m.block)->rows, m.row);
  }
  RowReads(const RowReads&) = delete;
  RowReads& operator=(const RowReads&) = delete;

  bool finished() const { return open_.empty() && waiting_.empty(); }
  bool lost() const { return lost_; }
  void start();          // as many as there is room for; kNoMemory when there is none at all
  bool settle();         // takes what has come; whether anything has.  kNoMemory as start()
  void drop() noexcept;  // what is under way is thrown away when it is reported

 private:
  // Pages of one block that are read together, and the rows wanted of them.
  struct Part {
    std::uint64_t ticket = 0;
    std::size_t first_page = 0, pages = 0;
    const BlockRef* block = nullptr;
    std::span<RowMiss> rows;
    int tries = 1;
  };
  std::size_t part_end(std::size_t begin) const;
  Part part_of(std::span<RowMiss> rows) const;
  void start(Part part);
  bool take(const Part& part, Transfer& t);
  void fail(Part part, const Transfer* t);

  BlockCache& cache_;
  std::span<RowMiss> misses_;
  const bool parts_;  // the store reads parts
  std::deque<Part> waiting_;
  std::vector<Part> open_;
  bool lost_ = false, room_ = true;
};

BlockCache::RowReads::RowReads(BlockCache& cache, std::span<RowMiss> misses)
    : cache_(cache), misses_(misses), parts_(cache.below_->reads_parts()) {
  for (std::size_t at = 0, end = 0; at < misses.size(); at = end) {
    end = part_end(at);
    waiting_.push_back(part_of(misses.subspan(at, end - at)));
  }
}

// The rows from `begin` on that one read brings: of one block, and of pages beside each other or,
// where the store reads whole blocks, of any.
std::size_t BlockCache::RowReads::part_end(std::size_t begin) const {
  const Block* block = misses_[begin].block->get();
  const std::size_t per_page = block->shape.rows_per_page();
  std::size_t end = begin + 1;
  for (; end < misses_.size() && misses_[end].block->get() == block; ++end)
    if (parts_ && misses_[end].row / per_page > misses_[end - 1].row / per_page + 1) break;
  return end;
}

BlockCache::RowReads::Part BlockCache::RowReads::part_of(std::span<RowMiss> rows) const {
  const BlockShape& shape = (*rows[0].block)->shape;
  Part part;
  part.block = rows[0].block;
  part.rows = rows;
  part.pages = shape.pages();
  if (!parts_) return part;
  part.first_page = rows.front().row / shape.rows_per_page();
  part.pages = rows.back().row / shape.rows_per_page() + 1 - part.first_page;
  return part;
}

// Those that are refused wait again, for the next time.
void BlockCache::RowReads::start() {
  constexpr std::size_t kMost = 256;  // under way, those of other calls included
  for (std::size_t n = waiting_.size();
       n > 0 && cache_.staging_->any() && cache_.transfers_.size() < kMost; --n) {
    const Part part = waiting_.front();
    try {
      start(part);
    } catch (const Error& e) {
      if (e.code() != Code::kNoMemory || open_.empty()) throw;
      return;
    }
    waiting_.pop_front();
  }
}

void BlockCache::RowReads::start(Part part) {
  const BlockKey& key = (*part.block)->key;
  Transfer t;
  t.get = t.awaited = true;
  t.staged = cache_.staging_->take();
  t.size = part.pages * kPage;
  part.ticket = cache_.begin(std::move(t), [&](std::span<std::byte> to, std::uint64_t ticket) {
    if (parts_)
      cache_.below_->begin_get_part(key, part.first_page * kPage, to, ticket);
    else
      cache_.below_->begin_get(key, to, ticket);
  });
  if (part.ticket != 0)
    open_.push_back(part);
  else
    fail(part, nullptr);
}

// A part that was refused (`t` is null) or has not come well: it is tried again, or lost.
void BlockCache::RowReads::fail(Part part, const Transfer* t) {
  const bool gone = t != nullptr && t->result.status == Code::kState;
  if (!gone && part.tries++ < kTries) {
    waiting_.push_back(part);
    return;
  }
  if (t != nullptr && t->result.status == Code::kNoMemory) {
    room_ = false;
    return;
  }
  cache_.give_up(**part.block, t);
  lost_ = true;
}

bool BlockCache::RowReads::take(const Part& part, Transfer& t) {
  if (t.result.status != Code::kOk || t.result.bytes != t.size) return false;
  const Block& block = **part.block;
  const std::size_t per_page = block.shape.rows_per_page(), row_bytes = block.shape.row_bytes;
  std::size_t checked = part.pages;  // the page that was checked last
  for (RowMiss& miss : part.rows) {
    const std::size_t page = miss.row / per_page - part.first_page;
    const std::byte* stored = t.data() + page * kPage;
    if (page != checked && !page_intact(block.key, part.first_page + page, stored)) return false;
    checked = page;
    cache_.memory_->upload(block.rows->at(miss.row), stored + miss.row % per_page * row_bytes,
                           row_bytes);
    miss.block = nullptr;
  }
  const std::scoped_lock lock(cache_.mutex_);
  cache_.stats_.read_bytes += t.size;
  return true;
}

bool BlockCache::RowReads::settle() {
  const std::size_t before = open_.size();
  std::erase_if(open_, [&](const Part& part) {
    const auto it = cache_.transfers_.find(part.ticket);
    if (!it->second.done) return false;
    if (!take(part, it->second)) fail(part, &it->second);
    cache_.transfers_.erase(it);
    return true;
  });
  if (!room_) v4i::fail(Code::kNoMemory, "{}", kNoRoom);
  return open_.size() < before;
}

void BlockCache::RowReads::drop() noexcept {
  for (const Part& part : open_) cache_.forget(part.ticket);
  open_.clear();
}

void BlockCache::make_room_for_rows(std::size_t rows) {
  V4I_CHECK(rows_ != nullptr);
  if (rows > rows_wanted_) rows_wanted_ = rows;
  while (rows_->rows() < rows) rows_->grow(true);
  if (staging_made_) return;
  const StoreLock lock(*this, nullptr);
  make_staging(rows_shape_);
}

// Rows that made room for others of late are worth a slab each, if need be in place of whole
// blocks.
void BlockCache::balance_rows() {
  if (rows_ == nullptr) return;
  const std::uint64_t replaced = rows_->stats().replaced;
  std::uint64_t slabs = (replaced - replaced_) / RowCache::kSlabRows;
  replaced_ += slabs * RowCache::kSlabRows;
  while (slabs > 0 && rows_->grow(false)) --slabs;
  if (slabs == 0 || !trade_blocks(slabs * rows_->slab_bytes())) return;
  while (slabs > 0 && rows_->grow(false)) --slabs;
}

bool BlockCache::bring_rows(std::span<RowMiss> misses, const CancelFlag* cancel) {
  if (misses.empty()) return true;
  std::sort(misses.begin(), misses.end(), [](const RowMiss& a, const RowMiss& b) {
    if (*a.block != *b.block) return std::less<>()(a.block->get(), b.block->get());
    return a.row < b.row;
  });
  RowReads reads(*this, misses);
  const StoreLock lock(*this, cancel);
  try {
    auto deadline = Clock::now() + kPatience;
    while (!reads.finished() && Clock::now() < deadline) {
      throw_if_cancelled(cancel);
      reads.start();
      drain(kLook);
      if (reads.settle()) deadline = Clock::now() + kPatience;
    }
  } catch (...) {
    reads.drop();
    throw;
  }
  const bool all = reads.finished() && !reads.lost();
  reads.drop();
  return all;
}

}  // namespace v4i::store
