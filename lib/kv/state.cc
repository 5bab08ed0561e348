// State: one sequence's KV state between and during chunks.
#include "lib/kv/state.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "lib/base/error.h"

namespace v4i::kv {

namespace {

constexpr std::int64_t kFirstCheckpoint = 512;  // tokens between checkpoints, at the start
constexpr std::size_t kMaxCheckpoints = 8;

Digest chain_root(const Digest& seed, const Layout& layout) {
  constexpr char kTag[] = "v4infer kv";
  const Digest shape = layout.digest();
  Sha256 h;
  h.update(kTag, sizeof kTag);
  h.update(seed.data(), seed.size());
  h.update(shape.data(), shape.size());
  return h.finish();
}

Buffer<std::byte> fixed_buffer(Budget& budget, const Layout& layout) {
  return {budget, layout.fixed_bytes, Use::kKv, "the window and partial state of a sequence"};
}

std::size_t slot(std::int64_t position, int slots) {
  return static_cast<std::size_t>(position % slots);
}

}  // namespace

State::State(std::shared_ptr<const Layout> layout, store::TierStack& store, const Digest& seed)
    : State(layout, store, Prefix(store.budget(), chain_root(seed, *layout))) {}

State::State(std::shared_ptr<const Layout> layout, store::TierStack& store, Prefix prefix)
    : layout_(std::move(layout)),
      store_(&store),
      fixed_(fixed_buffer(store.budget(), *layout_)),
      prefix_(std::move(prefix)),
      checkpoint_every_(kFirstCheckpoint) {
  tables_.reserve(layout_->layers.size() * 2);
  for (const LayerLayout& l : layout_->layers)
    for (bool index : {false, true})
      tables_.emplace_back(layout_->row_bytes(l, index), layout_->rows_per_block);
  checkpoints_.reserve(kMaxCheckpoints + 1);
}

State::State(State&&) noexcept = default;
State& State::operator=(State&&) noexcept = default;
State::~State() = default;

std::uint64_t State::bytes() const {
  std::uint64_t total = fixed_.bytes() + undo_.bytes() + prefix_.bytes();
  for (const BlockTable& t : tables_) total += t.bytes();
  for (const Checkpoint& c : checkpoints_) total += c.fixed->bytes();
  return total;
}

// ---- rows

std::size_t State::window_at(int layer, std::int64_t position) const {
  return layout_->layers[static_cast<std::size_t>(layer)].window_offset +
         slot(position, layout_->window_slots) * layout_->row.bytes();
}

std::size_t State::partial_at(int layer, std::int64_t position) const {
  const LayerLayout& l = layout_->layers[static_cast<std::size_t>(layer)];
  return l.partial_offset + slot(position, l.partial_slots) * l.partial_floats() * sizeof(float);
}

std::byte* State::window_row(int layer, std::int64_t position) {
  return fixed_.data() + window_at(layer, position);
}

const std::byte* State::window_row(int layer, std::int64_t position) const {
  return fixed_.data() + window_at(layer, position);
}

float* State::partial(int layer, std::int64_t position) {
  return reinterpret_cast<float*>(fixed_.data() + partial_at(layer, position));
}

const float* State::partial(int layer, std::int64_t position) const {
  return reinterpret_cast<const float*>(fixed_.data() + partial_at(layer, position));
}

std::byte* State::new_row(int layer, RowKind kind, std::int64_t row) {
  V4I_CHECK(pending_ > 0);
  return table(layer, kind).mutable_row(row);
}

const std::byte* State::row(int layer, RowKind kind, std::int64_t row) const {
  return table(layer, kind).row(row);
}

// Rows of a table that the first `length` tokens complete.
std::int64_t State::rows(std::size_t table, std::int64_t length) const {
  if (!tables_[table].used()) return 0;
  return length / layout_->layers[table / 2].ratio;
}

// ---- a chunk

void State::begin(std::span<const std::int32_t> tokens) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  V4I_CHECK(pending_ == 0 && n > 0 && n < (std::int64_t{1} << 40));
  try {
    make_room(n);
  } catch (const Error& error) {
    if (error.code() != Code::kNoMemory || checkpoints_.empty()) throw;
    checkpoints_.clear();  // they only save time
    make_room(n);
  }
  prefix_.append(tokens);
  pending_ = n;
}

void State::make_room(std::int64_t tokens) {
  const std::int64_t end = length_ + tokens;
  try {
    for (std::size_t t = 0; t < tables_.size(); ++t)
      tables_[t].reserve(rows(t, length_), rows(t, end), *store_);
    if (tokens > layout_->rollback) undo_ = fixed_buffer(store_->budget(), *layout_);
    prefix_.reserve(end);
  } catch (...) {
    undo_.reset();
    trim_tables();
    throw;
  }
  if (!undo_.empty()) std::memcpy(undo_.data(), fixed_.data(), fixed_.bytes());
}

void State::commit() {
  V4I_CHECK(pending_ > 0);
  const std::int64_t before = length_;
  length_ += pending_;
  pending_ = 0;
  high_ = std::max(high_, length_);
  undo_.reset();
  seal_full_blocks();
  if (length_ / checkpoint_every_ > before / checkpoint_every_) remember();
}

void State::abort() noexcept {
  if (pending_ == 0) return;
  if (undo_.empty()) {
    high_ = std::max(high_, length_ + pending_);
  } else {
    fixed_.swap(undo_);
    undo_.reset();
  }
  pending_ = 0;
  prefix_.cut(length_);
  trim_tables();
}

void State::trim_tables() noexcept {
  for (std::size_t t = 0; t < tables_.size(); ++t) tables_[t].truncate(rows(t, length_));
}

// ---- blocks

// A row depends on the tokens up to its last one, so a block is named by the chain
// up to the last token of its last row.
store::BlockKey State::block_key(std::size_t table, std::int64_t block) const {
  const std::int64_t per_block = layout_->rows_per_block;
  const std::int64_t ratio = layout_->layers[table / 2].ratio;
  const Digest prefix = prefix_.digest((block + 1) * per_block * ratio);
  const std::int64_t place[3] = {static_cast<std::int64_t>(table), block * per_block, per_block};
  Sha256 h;
  h.update(prefix.data(), prefix.size());
  h.update(place, sizeof place);
  return {h.finish()};
}

void State::seal_full_blocks() {
  try {
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      const std::int64_t full = rows(t, length_) / layout_->rows_per_block;
      std::int64_t first = full;  // open blocks are the last ones
      while (first > 0 && !tables_[t].is_sealed(first - 1)) --first;
      for (; first < full; ++first) tables_[t].seal(first, block_key(t, first), *store_);
    }
  } catch (const std::bad_alloc&) {
    // A block that stays open is only not shared; the next commit tries again.
  }
}

// ---- history

// Checkpoints may not press others out: they take room only while half is free.
void State::remember() {
  Budget& budget = store_->budget();
  if (fixed_.bytes() > budget.cap() / 2 || budget.used() > budget.cap() / 2 - fixed_.bytes())
    return;
  try {
    auto copy = std::make_shared<Buffer<std::byte>>(fixed_buffer(budget, *layout_));
    std::memcpy(copy->data(), fixed_.data(), fixed_.bytes());
    checkpoints_.push_back({length_, high_, std::move(copy)});
  } catch (const Error&) {
    return;
  } catch (const std::bad_alloc&) {
    return;
  }
  while (checkpoints_.size() > kMaxCheckpoints) thin_checkpoints();
}

// Doubles the distance: keeps the first in each span, and the latest.
void State::thin_checkpoints() {
  checkpoint_every_ *= 2;
  std::int64_t last_span = -1;
  const std::int64_t latest = checkpoints_.back().length;
  std::erase_if(checkpoints_, [&](const Checkpoint& c) {
    const std::int64_t span = c.length / checkpoint_every_;
    const bool keep = span != last_span || c.length == latest;
    last_span = span;
    return !keep;
  });
}

const State::Checkpoint* State::source(std::int64_t length) const {
  // The first one past `length` leads there when its rings reach back far enough.
  const Checkpoint* best = nullptr;
  for (const Checkpoint& c : checkpoints_) {
    if (c.length <= length || c.high - length <= layout_->rollback) best = &c;
    if (c.length >= length) break;
  }
  return best;
}

std::int64_t State::rewind_target(std::int64_t length) const {
  const std::int64_t wanted = std::clamp<std::int64_t>(length, 0, length_);
  if (high_ - wanted <= layout_->rollback) return wanted;
  const Checkpoint* c = source(wanted);
  return c == nullptr ? 0 : std::min(wanted, c->length);
}

void State::rewind(std::int64_t length) {
  V4I_CHECK(pending_ == 0);
  if (length != rewind_target(length))
    fail(Code::kState, "the KV state of {} tokens cannot be cut to {}, only to {}", length_, length,
         rewind_target(length));
  if (length == length_) return;
  if (length == 0) {  // also within the margin: a fresh start has the whole margin again
    std::fill(fixed_.begin(), fixed_.end(), std::byte{0});
    high_ = 0;
    checkpoint_every_ = kFirstCheckpoint;
  } else if (high_ - length > layout_->rollback) {
    const Checkpoint* c = source(length);
    std::memcpy(fixed_.data(), c->fixed->data(), fixed_.bytes());
    high_ = c->high;
  }
  length_ = length;
  prefix_.cut(length);
  trim_tables();
  std::erase_if(checkpoints_, [&](const Checkpoint& c) { return c.length > length; });
}

State State::fork() const {
  V4I_CHECK(pending_ == 0);
  State other(layout_, *store_, prefix_.copy());
  for (std::size_t t = 0; t < tables_.size(); ++t) other.tables_[t] = tables_[t].fork(*store_);
  std::memcpy(other.fixed_.data(), fixed_.data(), fixed_.bytes());
  other.length_ = length_;
  other.high_ = high_;
  other.checkpoints_.assign(checkpoints_.begin(), checkpoints_.end());
  other.checkpoint_every_ = checkpoint_every_;
  return other;
}

}  // namespace v4i::kv
