// RowWave: rows of an indexed layer that are in memory together, for the time of one wave.
//
// Where blocks of compressed rows are elsewhere, an executor collects what its tokens have
// selected, token by token, until no more fits; has it brought; computes these tokens; and begins
// the next wave.  Where all blocks of the layer are in memory there is nothing to do.
//
// Lives within the Lease on its layer.  One at a time in a cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/cancel.h"
#include "lib/store/block_cache.h"

namespace v4i::kv {

class BlockTable;
class State;

class RowWave {
 public:
  // Of the rows of this state, and of others with the same cache.
  RowWave(const State& state, const CancelFlag* cancel);
  // All rows of the layer are in memory: they need not be added.
  static bool whole(const State& state, int layer);
  // The rows that a token reads: `count` of them, those that `chosen` names or, where it is null,
  // the first ones.  False: they do not fit beside the others of the wave, which then is complete;
  // the first token's always fit.
  bool add(State& state, int layer, std::int64_t count, const std::int32_t* chosen);
  // Waits until they are there.  LostRows, kCancelled.
  void bring();

 private:
  bool add_row(store::RowCache::Taking& taking, BlockTable& table, std::int64_t row);

  store::BlockCache* cache_;
  const CancelFlag* cancel_;
  std::vector<store::RowMiss> misses_;
};

}  // namespace v4i::kv
