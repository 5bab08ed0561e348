// Snapshots of a State: taking, rewinding to, and taking up those of others.
//
//   the fixed state | of each table, the rows behind its final blocks
//
// A snapshot is named by its tokens and taken at multiples of 128 of them, in the host's memory.
#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/kv/state.h"

namespace v4i::kv {

store::BlockKey State::snapshot_key(std::int64_t length, std::int64_t late_start) const {
  constexpr char kTag[] = "snapshot";
  const Digest prefix = prefix_.digest(length);
  Sha256 h;
  h.update(kTag, sizeof kTag);
  h.update(prefix.data(), prefix.size());
  if (late_start > 0) h.update(&late_start, sizeof late_start);
  return {h.finish()};
}

std::size_t State::snapshot_bytes(std::int64_t length) const {
  std::size_t total = layout_->fixed_bytes;
  for (std::size_t t = 0; t < tables_.size(); ++t)
    total +=
        static_cast<std::size_t>(rows(t, length) - open_row(t, length)) * tables_[t].row_bytes();
  return total;
}

bool State::snapshot_due(std::int64_t before, std::int64_t length) const {
  if (length % kSnapshotStep != 0) return false;
  const std::int64_t last = snapshots_.empty() ? 0 : snapshots_.back().length;
  return length / snapshot_every_ > std::min(before, last) / snapshot_every_;
}

std::int64_t State::chunk_length(std::int64_t tokens, std::int64_t left) {
  const std::int64_t end = length_ + tokens, cut = end / kSnapshotStep * kSnapshotStep;
  if (cut <= length_) return tokens;
  // The prompt's last multiple lies in this chunk or at its end: then there is no later chance.
  const bool last = (end + left) / kSnapshotStep * kSnapshotStep == cut;
  if (!last) return snapshot_due(length_, cut) ? cut - length_ : tokens;
  const std::int64_t latest = snapshots_.empty() ? 0 : snapshots_.back().length;
  if (!cache_->has_store() || cut - latest < kFirstSnapshot) return tokens;
  prompt_end_ = cut;
  return cut - length_;
}

std::uint64_t State::most_snapshots(std::uint64_t rows, std::uint64_t snapshot) {
  constexpr std::uint64_t kShare = 33, kLeast = 4;
  return std::clamp<std::uint64_t>(rows / kShare / snapshot, kLeast, kMaxSnapshots);
}

std::size_t State::max_snapshots() const {
  if (!cache_->has_store()) return kMaxSnapshots;
  const std::uint64_t kv =
      layout_->bytes(static_cast<std::uint64_t>(length_)) - layout_->fixed_bytes;
  return static_cast<std::size_t>(most_snapshots(kv, snapshot_bytes(length_)));
}

// Snapshots may not press others out: without a store, where they would leave memory first, they
// take room only while half is free.
void State::remember() {
  if (high_ != length_) return;  // slots of the margin hold what other tokens left there
  Budget& budget = cache_->budget();
  const std::size_t bytes = snapshot_bytes(length_);
  const std::uint64_t most = budget.cap() / (cache_->has_store() ? 8 : 2);
  if (bytes > most || (!cache_->has_store() && budget.used() > most - bytes)) return;
  try {
    store::Slot slot = cache_->allocate_snapshot(bytes);
    cache_->memory().download(slot.data(), fixed_.data(), fixed_.bytes());
    std::byte* to = slot.data() + fixed_.bytes();
    bool whole = true;
    for (std::size_t t = 0; t < tables_.size(); ++t)
      in_blocks(t, open_row(t, length_), length_, [&](std::int64_t row, std::int64_t n) {
        whole = whole && !tables_[t].elsewhere(row) && tables_[t].read(row, n, *cache_, to);
        to += static_cast<std::size_t>(n) * tables_[t].row_bytes();
      });
    if (!whole) return;
    snapshots_.push_back({length_,
                          cache_->seal(snapshot_key(length_, late_start_), std::move(slot)),
                          length_ == prompt_end_, late_start_});
  } catch (const Error&) {
    return;
  } catch (const std::bad_alloc&) {
    return;
  }
  while (snapshots_.size() > max_snapshots()) thin_snapshots();
}

// Doubles the distance: keeps the first in each span, and the latest.
void State::thin_snapshots() {
  snapshot_every_ *= 2;
  std::int64_t last_span = -1;
  const std::int64_t latest = snapshots_.back().length;
  std::erase_if(snapshots_, [&](const Snapshot& s) {
    const std::int64_t span = s.length / snapshot_every_;
    const bool keep = span != last_span || s.length == latest;
    last_span = span;
    if (!keep && !s.prompt_end) cache_->discard(s.block);
    return !keep;
  });
}

const State::Snapshot* State::source(std::int64_t length) const {
  // The first one past `length` leads there when its rings reach back far enough.
  const Snapshot* best = nullptr;
  for (const Snapshot& s : snapshots_) {
    if (s.length <= length || s.length - length <= layout_->rollback) best = &s;
    if (s.length >= length) break;
  }
  return best;
}

std::int64_t State::rewind_target(std::int64_t length) const {
  const std::int64_t wanted = std::clamp<std::int64_t>(length, 0, length_);
  if (high_ - wanted <= layout_->rollback) return wanted;
  const Snapshot* s = source(wanted);
  return s == nullptr ? 0 : std::min(wanted, s->length);
}

void State::rewind(std::int64_t length) {
  V4I_CHECK(pending_ == 0);
  if (length != rewind_target(length))
    fail(Code::kState, "the KV state of {} tokens cannot be cut to {}, only to {}", length_, length,
         rewind_target(length));
  if (length == length_) return;
  if (length == 0) {  // also within the margin: a fresh start has the whole margin again
    const std::vector<std::byte> zeros(std::min<std::size_t>(fixed_.bytes(), 1 << 16));
    for (std::size_t at = 0; at < fixed_.bytes(); at += zeros.size())
      cache_->memory().upload(fixed_.data() + at, zeros.data(),
                              std::min(zeros.size(), fixed_.bytes() - at));
    high_ = 0;
    snapshot_every_ = kFirstSnapshot;
    late_start_ = 0;
  } else if (high_ - length > layout_->rollback) {
    const Snapshot* s = source(length);
    if (!read_fixed(*s)) {
      s->block->lost = true;
      std::erase_if(snapshots_, [](const Snapshot& other) { return other.block->lost.load(); });
      return rewind(rewind_target(length));
    }
    high_ = s->length;
    late_start_ = s->late_start;
  }
  length_ = length;
  late_start_ = std::min(late_start_, length);
  prefix_.cut(length);
  trim_tables();
  std::erase_if(snapshots_, [&](const Snapshot& s) { return s.length > length; });
}

bool State::read_fixed(const Snapshot& s) try {
  return cache_->view(s.block, nullptr, [&](const std::byte* bytes) {
    cache_->memory().upload(fixed_.data(), bytes, fixed_.bytes());
  });
} catch (const Error& e) {
  if (e.code() == Code::kNoMemory) return false;  // as good as lost
  throw;
}

std::int64_t State::take_up(std::span<const std::int32_t> tokens, const CancelFlag* cancel,
                            std::span<const Media> media, bool late) {
  V4I_CHECK(pending_ == 0 && length_ == 0);
  const auto most = static_cast<std::int64_t>(tokens.size()) / kSnapshotStep * kSnapshotStep;
  if (most == 0) return 0;
  prefix_.reserve(static_cast<std::int64_t>(tokens.size()), media.size());
  prefix_.append(tokens, media);
  std::int64_t length = most;
  try {
    while (length > 0 && !take_up_at(length, late ? 0 : length, cancel)) length -= kSnapshotStep;
  } catch (...) {
    length = 0;
  }
  length_ = high_ = length;
  late_start_ = late ? 0 : length;
  prefix_.cut(length);
  trim_tables();
  return length;
}

void State::take_over(std::int64_t length, const std::byte* snapshot) {
  const auto put = [&](std::byte* to, std::size_t n) {
    cache_->memory().upload(to, snapshot, n);
    snapshot += n;
  };
  put(fixed_.data(), fixed_.bytes());
  for (std::size_t t = 0; t < tables_.size(); ++t)
    in_blocks(t, open_row(t, length), length, [&](std::int64_t row, std::int64_t n) {
      put(tables_[t].mutable_row(row), static_cast<std::size_t>(n) * tables_[t].row_bytes());
    });
}

bool State::take_up_at(std::int64_t length, std::int64_t late_start, const CancelFlag* cancel) {
  const store::BlockRef snapshot = cache_->known(
      snapshot_key(length, late_start), {snapshot_bytes(length), 0}, cache_->host(), cancel);
  if (snapshot == nullptr) return false;
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    tables_[t].truncate(0);
    for (std::int64_t b = 0; b < final_blocks(t, length); ++b) {
      store::BlockRef block =
          cache_->known(block_key(t, b), tables_[t].shape(), cache_->memory(), cancel);
      if (block == nullptr) return false;
      tables_[t].adopt(std::move(block));
    }
  }
  for (std::size_t t = 0; t < tables_.size(); ++t)
    if (!tables_[t].reserve(open_row(t, length), rows(t, length), *cache_)) return false;
  if (!cache_->view(snapshot, cancel, [&](const std::byte* from) { take_over(length, from); }))
    return false;
  snapshots_.push_back({length, snapshot, true, late_start});
  return true;
}

}  // namespace v4i::kv
