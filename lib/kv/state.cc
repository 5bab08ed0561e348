// State: rows, chunks and blocks.  See state.h; snapshots are in snapshot.cc.
#include "lib/kv/state.h"

#include <algorithm>

#include "lib/base/error.h"

namespace v4i::kv {

namespace {

Digest chain_root(const Digest& seed, const Layout& layout) {
  constexpr char kTag[] = "v4infer kv";
  const Digest shape = layout.digest();
  Sha256 h;
  h.update(kTag, sizeof kTag);
  h.update(seed.data(), seed.size());
  h.update(shape.data(), shape.size());
  return h.finish();
}

store::Slot fixed_slot(store::BlockCache& cache, const Layout& layout) {
  return {cache.memory(), layout.fixed_bytes, "the window and partial state of a sequence"};
}

std::size_t slot_of(std::int64_t position, int slots) {
  return static_cast<std::size_t>(position % slots);
}

}  // namespace

State::State(std::shared_ptr<const Layout> layout, store::BlockCache& cache, const Digest& seed)
    : State(layout, cache, Prefix(cache.budget(), chain_root(seed, *layout))) {}

State::State(std::shared_ptr<const Layout> layout, store::BlockCache& cache, Prefix prefix)
    : layout_(std::move(layout)),
      cache_(&cache),
      fixed_(fixed_slot(cache, *layout_)),
      prefix_(std::move(prefix)),
      snapshot_every_(kFirstSnapshot) {
  tables_.reserve(layout_->layers.size() * 2);
  for (const LayerLayout& l : layout_->layers)
    for (bool index : {false, true})
      tables_.emplace_back(layout_->row_bytes(l, index), layout_->rows_per_block,
                           !index && layout_->by_row(l));
  snapshots_.reserve(kMaxSnapshots + 1);
}

State::State(State&&) noexcept = default;
State& State::operator=(State&&) noexcept = default;
State::~State() = default;

std::uint64_t State::bytes() const {
  std::uint64_t total = fixed_.bytes() + next_.bytes() + prefix_.bytes();
  for (const BlockTable& t : tables_) total += t.bytes();
  for (const Snapshot& s : snapshots_) total += s.block->here ? s.block->shape.bytes : 0;
  return total;
}

// ---- rows

std::size_t State::window_at(int layer, std::int64_t position) const {
  return layout_->layers[static_cast<std::size_t>(layer)].window_offset +
         slot_of(position, layout_->window_slots) * layout_->window_row.bytes();
}

std::size_t State::partial_at(int layer, std::int64_t position) const {
  const LayerLayout& l = layout_->layers[static_cast<std::size_t>(layer)];
  return l.partial_offset + slot_of(position, l.partial_slots) * l.partial_floats() * sizeof(float);
}

const std::byte* State::window_row(int layer, std::int64_t position) const {
  return fixed_.data() + window_at(layer, position);
}

std::byte* State::new_window_row(int layer, std::int64_t position) {
  return written().data() + window_at(layer, position);
}

const float* State::partial(int layer, std::int64_t position) const {
  return reinterpret_cast<const float*>(fixed_.data() + partial_at(layer, position));
}

float* State::new_partial(int layer, std::int64_t position) {
  return reinterpret_cast<float*>(written().data() + partial_at(layer, position));
}

BlockTable& State::table_of(int layer, RowKind kind) {
  return tables_[table_index(layout_->source(layer, kind == RowKind::kIndex), kind)];
}

const BlockTable& State::table_of(int layer, RowKind kind) const {
  return tables_[table_index(layout_->source(layer, kind == RowKind::kIndex), kind)];
}

std::byte* State::new_row(int layer, RowKind kind, std::int64_t row) {
  V4I_CHECK(pending_ > 0);
  return tables_[table_index(layer, kind)].mutable_row(row);
}

const std::byte* State::row(int layer, RowKind kind, std::int64_t row) const {
  return table_of(layer, kind).row(row);
}

// Rows of a table that the first `length` tokens complete.
std::int64_t State::rows(std::size_t table, std::int64_t length) const {
  return tables_[table].used() ? length / ratio(table) : 0;
}

std::int64_t State::final_blocks(std::size_t table, std::int64_t length) const {
  const std::int64_t reach = std::max<std::int64_t>(0, length - layout_->rollback);
  return rows(table, reach) / layout_->rows_per_block;
}

std::uint64_t State::stored_bytes() const {
  std::vector<store::BlockRef> blocks;
  for (const BlockTable& t : tables_) t.sealed_blocks(&blocks);
  return cache_->stored_bytes(blocks);
}

void State::layer_blocks(int layer, std::vector<store::BlockRef>* out) const {
  for (const RowKind kind : {RowKind::kMain, RowKind::kIndex})
    if (const BlockTable& t = table_of(layer, kind); !t.by_row()) t.sealed_blocks(out);
}

bool State::settle(int layer, std::uint64_t evictions) {
  bool all = true;
  for (const RowKind kind : {RowKind::kMain, RowKind::kIndex}) {
    BlockTable& t = table_of(layer, kind);
    all = (t.settled(evictions) || t.settle(evictions, cache_->tick())) && all;
  }
  return all;
}

// ---- a chunk

void State::begin(std::span<const std::int32_t> tokens, std::span<const Media> media) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  V4I_CHECK(pending_ == 0 && n > 0 && n < (std::int64_t{1} << 40));
  try {
    make_room(n, media.size());
  } catch (const Error& error) {
    if (error.code() != Code::kNoMemory || snapshots_.empty()) throw;
    snapshots_.clear();  // they only save time
    make_room(n, media.size());
  }
  prefix_.append(tokens, media);
  pending_ = n;
}

void State::make_room(std::int64_t tokens, std::size_t media) {
  const std::int64_t end = length_ + tokens;
  try {
    for (std::size_t t = 0; t < tables_.size(); ++t)
      if (!tables_[t].reserve(rows(t, length_), rows(t, end), *cache_)) throw LostRows();
    if (tokens > layout_->rollback) next_ = fixed_slot(*cache_, *layout_);
    prefix_.reserve(end, media);
  } catch (...) {
    next_.reset();
    trim_tables();
    throw;
  }
}

// Slots of a ring that the chunk has not written, into the state that takes the place of this one.
void State::carry_ring(std::size_t offset, std::size_t slot_bytes, int slots, std::int64_t end) {
  for (std::int64_t p = std::max<std::int64_t>(0, end - slots); p < length_;) {
    const auto slot = static_cast<std::int64_t>(slot_of(p, slots));
    const std::int64_t n = std::min(length_ - p, slots - slot);
    const std::size_t at = offset + static_cast<std::size_t>(slot) * slot_bytes;
    cache_->memory().copy(next_.data() + at, fixed_.data() + at,
                          static_cast<std::size_t>(n) * slot_bytes);
    p += n;
  }
}

// Those that the chunk has not written, of the state that takes the place of this one: nobody reads
// them, but they are saved.
void State::clear_late_windows() {
  const std::size_t bytes =
      static_cast<std::size_t>(layout_->window_slots) * layout_->window_row.bytes();
  const std::vector<std::byte> zeros(bytes);
  for (std::size_t l = static_cast<std::size_t>(layout_->outputs_from) + 1;
       l < layout_->layers.size(); ++l)
    cache_->memory().upload(next_.data() + layout_->layers[l].window_offset, zeros.data(), bytes);
}

void State::close(bool late) {
  V4I_CHECK(pending_ > 0);
  if (next_.empty()) return;
  if (!late) clear_late_windows();
  const std::int64_t end = length_ + pending_;
  for (const LayerLayout& l : layout_->layers) {
    carry_ring(l.window_offset, layout_->window_row.bytes(), layout_->window_slots, end);
    if (l.partial_slots > 0)
      carry_ring(l.partial_offset, l.partial_floats() * sizeof(float), l.partial_slots, end);
  }
}

void State::commit(bool late) {
  V4I_CHECK(pending_ > 0);
  const std::int64_t before = length_, end = length_ + pending_;
  if (!next_.empty()) fixed_.swap(next_);
  next_.reset();
  length_ = end;
  if (!late) late_start_ = end;
  pending_ = 0;
  high_ = std::max(high_, length_);
  seal_final_blocks();
  if (snapshot_due(before, length_) || length_ == prompt_end_) remember();
}

void State::abort() noexcept {
  if (pending_ == 0) return;
  if (next_.empty()) high_ = std::max(high_, length_ + pending_);
  next_.reset();
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
  const Digest prefix = prefix_.digest((block + 1) * per_block * ratio(table));
  const std::int64_t place[3] = {static_cast<std::int64_t>(table), block * per_block, per_block};
  Sha256 h;
  h.update(prefix.data(), prefix.size());
  h.update(place, sizeof place);
  return {h.finish()};
}

void State::seal_final_blocks() {
  try {
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      const std::int64_t final = final_blocks(t, length_);
      std::int64_t first = final;  // open blocks are the last ones
      while (first > 0 && !tables_[t].is_sealed(first - 1)) --first;
      for (; first < final; ++first) {
        tables_[t].seal(first, block_key(t, first), *cache_);
        if (keeping_ == 0) continue;
        kept_.push_back(tables_[t].sealed(first));
        cache_->keep({&kept_.back(), 1}, 1);
      }
    }
  } catch (const std::exception&) {
    // A block that stays open is only not shared; the next commit tries again.
  }
}

void State::keep_blocks(int by) {
  if (keeping_ == 0)
    for (const BlockTable& t : tables_) t.sealed_blocks(&kept_);
  if (keeping_ == 0) cache_->keep(kept_, 1);
  keeping_ += by;
  if (keeping_ > 0) return;
  cache_->keep(kept_, -1);
  kept_.clear();
}

std::int64_t State::usable_length() const {
  std::vector<store::BlockRef> blocks;
  for (const BlockTable& t : tables_) t.sealed_blocks(&blocks);
  cache_->probe(blocks);
  std::int64_t usable = length_;
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    const std::int64_t lost = tables_[t].first_lost();
    if (lost < tables_[t].blocks())  // the tokens before the one that completes its first row
      usable = std::min(usable, (lost * layout_->rows_per_block + 1) * ratio(t) - 1);
  }
  return usable;
}

State State::fork() const {
  V4I_CHECK(pending_ == 0);
  State other(layout_, *cache_, prefix_.copy());
  for (std::size_t t = 0; t < tables_.size(); ++t) other.tables_[t] = tables_[t].fork(*cache_);
  cache_->memory().copy(other.fixed_.data(), fixed_.data(), fixed_.bytes());
  other.length_ = length_;
  other.high_ = high_;
  other.late_start_ = late_start_;
  other.snapshots_.assign(snapshots_.begin(), snapshots_.end());
  other.snapshot_every_ = snapshot_every_;
  return other;
}

}  // namespace v4i::kv
