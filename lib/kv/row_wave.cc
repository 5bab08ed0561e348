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
  const auto at = static_cast<std::uint32_t>(table.row_in_block(row));
  misses_.push_back({block, at});
  const store::RowCache::Taken taken = taking.take(*(*block)->rows, at);
  if (taken != store::RowCache::Taken::kEmpty) misses_.pop_back();
  return taken != store::RowCache::Taken::kFull;
}

bool RowWave::add(State& state, int layer, std::int64_t count, const std::int32_t* chosen) {
  if (whole(state, layer)) return true;
  if (&state.cache() != cache_) return false;
  BlockTable& table = state.main_rows(layer);
  store::RowCache::Taking taking(cache_->rows());
  for (std::int64_t i = 0; i < count; ++i)
    if (!add_row(taking, table, chosen != nullptr ? chosen[i] : i)) return false;
  return true;
}

void RowWave::bring() {
  if (!cache_->bring_rows(misses_, cancel_)) throw LostRows();
  misses_.clear();
}

}  // namespace v4i::kv
