// Lease: everything that one layer of some sequences has to read is in memory, but for compressed
// rows that are brought one by one (RowWave), for which there is room.  While a lease lives, no
// block leaves the caches of these sequences, so hold one no longer than the layer reads.
//
// Rows are named by (layer, kind, index).  Sealed blocks may be elsewhere; whoever computes a
// layer holds a lease on it, and an executor that works asynchronously keeps it until the layer
// has read its rows.  Where everything is in memory a lease costs three short locks and two
// comparisons a sequence.
#pragma once

#include <span>
#include <vector>

#include "lib/base/cancel.h"
#include "lib/base/error.h"
#include "lib/store/block_cache.h"

namespace v4i::kv {

class State;

// Rows of a sequence are gone: the store below has lost or damaged them.  State::usable_length()
// says from where the owner has to compute again.
class LostRows : public Error {
 public:
  LostRows() : Error(Code::kState, "rows of the KV state are lost and have to be computed again") {}
};

class Lease {
 public:
  Lease() = default;
  // Waits for blocks that are elsewhere.  Throws LostRows, Error of kNoMemory when what one layer
  // needs does not fit, kCancelled.
  Lease(std::span<State* const> states, int layer, const CancelFlag* cancel);
  const CancelFlag* cancel() const { return cancel_; }

 private:
  bool take(std::span<State* const> states, int layer);  // the stays; false: something is missing
  const CancelFlag* cancel_ = nullptr;
  store::BlockCache::Stay stay_;               // of the first state's cache
  std::vector<store::BlockCache::Stay> more_;  // of other ones
};

}  // namespace v4i::kv
