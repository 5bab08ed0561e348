// Bringing the blocks of a layer into memory; see lease.h.
#include "lib/kv/lease.h"

#include <vector>

#include "lib/kv/state.h"

namespace v4i::kv {

namespace {

// Blocks that stay while others are fetched.
class Pinned {
 public:
  Pinned(store::BlockCache& cache, std::span<State* const> states, int layer) : cache_(cache) {
    for (State* s : states) s->layer_blocks(layer, &blocks_);
    cache_.pin(blocks_, 1);
  }
  ~Pinned() { cache_.pin(blocks_, -1); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  std::span<const store::BlockRef> blocks() const { return blocks_; }

 private:
  store::BlockCache& cache_;
  std::vector<store::BlockRef> blocks_;
};

bool all_here(std::span<State* const> states, int layer, std::uint64_t evictions) {
  bool all = true;
  for (State* s : states) all = s->settle(layer, evictions) && all;
  return all;
}

}  // namespace

Lease::Lease(std::span<State* const> states, int layer, const CancelFlag* cancel) {
  store::BlockCache& cache = states[0]->cache();
  stay_ = store::BlockCache::Stay(cache);
  if (all_here(states, layer, cache.evictions())) return;
  stay_.reset();
  const Pinned pinned(cache, states, layer);
  cache.bring(pinned.blocks(), cancel);
  stay_ = store::BlockCache::Stay(cache);
  if (!all_here(states, layer, cache.evictions())) throw LostRows();
}

}  // namespace v4i::kv
