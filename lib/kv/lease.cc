// Bringing the blocks of a layer into memory; see lease.h.
#include "lib/kv/lease.h"

#include <algorithm>

#include "lib/kv/state.h"

namespace v4i::kv {

namespace {

// body(cache, first state of it) for each cache of the states, once.
template <class Body>
void for_each_cache(std::span<State* const> states, Body&& body) {
  for (std::size_t i = 0; i < states.size(); ++i) {
    store::BlockCache& cache = states[i]->cache();
    const auto has = [&](State* s) { return &s->cache() == &cache; };
    if (std::none_of(states.begin(), states.begin() + static_cast<std::ptrdiff_t>(i), has))
      body(cache, i);
  }
}

// The blocks of one cache that a layer needs as a whole.
std::vector<store::BlockRef> blocks_of(const store::BlockCache& cache,
                                       std::span<State* const> states, int layer) {
  std::vector<store::BlockRef> blocks;
  for (const State* s : states)
    if (&s->cache() == &cache) s->layer_blocks(layer, &blocks);
  return blocks;
}

bool has_room(State& state, int layer) {
  return state.main_rows(layer).whole() ||
         state.cache().has_room_for_rows(static_cast<std::size_t>(state.layout().row_reads));
}

}  // namespace

bool Lease::take(std::span<State* const> states, int layer) {
  for_each_cache(states, [&](store::BlockCache& cache, std::size_t first) {
    store::BlockCache::Stay stay(cache);
    if (first == 0)
      stay_ = std::move(stay);
    else
      more_.push_back(std::move(stay));
  });
  bool all = true;
  for (State* s : states)
    all = s->settle(layer, s->cache().evictions()) && has_room(*s, layer) && all;
  if (all) return true;
  more_.clear();
  stay_.reset();
  return false;
}

Lease::Lease(std::span<State* const> states, int layer, const CancelFlag* cancel)
    : cancel_(cancel) {
  for_each_cache(states, [](store::BlockCache& cache, std::size_t) { cache.balance_rows(); });
  if (take(states, layer)) return;
  std::vector<store::BlockCache::Pin> pins;  // what is there stays while the rest is fetched
  for_each_cache(states, [&](store::BlockCache& cache, std::size_t) {
    pins.emplace_back(cache, blocks_of(cache, states, layer));
    cache.bring(pins.back().blocks(), cancel);
  });
  for (State* s : states)
    if (!has_room(*s, layer))
      s->cache().make_room_for_rows(static_cast<std::size_t>(s->layout().row_reads));
  if (!take(states, layer)) throw LostRows();
}

}  // namespace v4i::kv
