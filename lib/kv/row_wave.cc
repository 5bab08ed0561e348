// Collecting and bringing the rows of a wave; see row_wave.h.
#include "lib/kv/row_wave.h"

#include "lib/kv/lease.h"
#include "lib/kv/state.h"

namespace v4i::kv {

RowWave::RowWave(const State& state, const CancelFlag* cancel)
    : cache_(&state.cache()), cancel_(cancel) {
  if (cache_->has_store() && state.layout().row_reads > 0 && cache_->has_room_for_rows(1))
    cache_->rows().begin_wave();
}

bool RowWave::whole(const State& state, int layer) { return state.main_rows(layer).whole(); }

bool RowWave::add_row(store::RowCache::Taking& taking, BlockTable& table, std::int64_t row) {
  const store::BlockRef* block = table.elsewhere_block(row);
  if (block == nullptr) return true;
  const auto at = static_cast<std::size_t>(table.row_in_block(row));
  misses_.reserve(misses_.size() + 1);
  switch (taking.take(*(*block)->rows, at)) {
    case store::RowCache::Taken::kThere:
      return true;
    case store::RowCache::Taken::kEmpty:
      misses_.push_back({block, static_cast<std::uint32_t>(at)});
      return true;
    case store::RowCache::Taken::kFull:
      break;
  }
  return false;
}

bool RowWave::add(State& state, int layer, std::span<const std::int32_t> rows) {
  if (whole(state, layer)) return true;
  if (&state.cache() != cache_) return false;
  BlockTable& table = state.main_rows(layer);
  store::RowCache::Taking taking(cache_->rows());
  for (const std::int32_t row : rows)
    if (!add_row(taking, table, row)) return false;
  return true;
}

bool RowWave::add_first(State& state, int layer, std::int64_t count) {
  if (whole(state, layer)) return true;
  if (&state.cache() != cache_) return false;
  BlockTable& table = state.main_rows(layer);
  store::RowCache::Taking taking(cache_->rows());
  for (std::int64_t row = 0; row < count; ++row)
    if (!add_row(taking, table, row)) return false;
  return true;
}

void RowWave::bring() {
  if (!cache_->bring_rows(misses_, cancel_)) throw LostRows();
  misses_.clear();
}

}  // namespace v4i::kv
