// Experts: the routed experts of a model, acquired by (layer, id), then used.
//
// Which experts a layer needs is known when its router has chosen.  acquire() starts to read those
// that are not in memory (an expert is six ranges of files: three matrices and their scales);
// wait() hands them out in waves of rising ids, which is the order in which they are added, so
// results do not depend on what arrived first.
//
//   mapped_experts   views of the mapped checkpoint: acquiring costs nothing, one wave has all
//   cached_experts   as many as the budget has room for, in slots that are read from the shards
//
// One lease at a time.  Stats, heat and hints: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/budget.h"
#include "lib/model/model.h"
#include "lib/store/read_queue.h"

namespace v4i::experts {

// How many of a batch's tokens use each expert: begin[id + 1] - begin[id] of them, or one where
// `begin` is null.
struct Uses {
  std::int64_t tokens = 1;
  const std::int32_t* begin = nullptr;
};

struct Stats {
  std::uint64_t experts = 0;     // of the model
  std::uint64_t slots = 0;       // that experts can be in; 0 where they are mapped
  std::uint64_t slot_bytes = 0;  // of one, as the budget counts it
  std::uint64_t hits = 0;        // acquired and in memory
  std::uint64_t late = 0;        // acquired while a hint was reading them
  std::uint64_t misses = 0;      // acquired and read then
  std::uint64_t hint_hits = 0;   // of `hits` and `late`, those that a hint brought
  std::uint64_t hint_reads = 0;  // experts that hints began to read
  std::uint64_t evictions = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t errors = 0;   // reads that failed
  std::uint64_t wait_ns = 0;  // of whoever acquired
};

class Experts {
 public:
  class Lease {
   public:
    Lease(Experts& from, int layer, std::span<const std::int32_t> ids)
        : from_(&from), layer_(layer), ids_(ids) {}
    ~Lease() {
      if (from_ != nullptr) from_->release(layer_, ids_);
    }
    Lease(Lease&& o) noexcept
        : from_(std::exchange(o.from_, nullptr)), layer_(o.layer_), ids_(o.ids_) {}
    Lease& operator=(Lease&&) = delete;

    // Waits for expert `first` of the ids, at least; the end of those that are there in a row.
    // Those before `first` are not used any more.  Error(kIo) naming shard and tensor.
    std::size_t wait(std::size_t first) { return from_->wait(layer_, ids_, first); }
    // One that the last wait() has given.
    const model::Expert& operator[](std::size_t i) const { return from_->view(layer_, ids_[i]); }

   private:
    Experts* from_;
    int layer_;
    std::span<const std::int32_t> ids_;
  };

  virtual ~Experts() = default;
  // `ids`, rising, stay the caller's and unchanged while the lease lives.  Layers behind the
  // model's own are its draft stages.
  Lease acquire(int layer, std::span<const std::int32_t> ids, const Uses& uses = {}) {
    begin(layer, ids, uses);
    return Lease(*this, layer, ids);
  }

  // These will be acquired (`certain`), or may be.  Starts to read some of those that are not in
  // memory, after everything that was acquired.
  virtual void hint(int, std::span<const std::int32_t>, bool /*certain*/) noexcept {}
  // Some are not in memory, so that hints are of use.
  virtual bool takes_hints() const noexcept { return false; }
  // Whether it is worth finding out what the next layer may need: something is not in memory, and
  // most guesses have been right lately.
  virtual bool wants_guesses() noexcept { return false; }

  virtual Stats stats() const { return {}; }
  // How much each expert has been used lately, as bytes to keep; empty where nobody counts.
  virtual std::string heat() const { return {}; }
  // From heat() of the same model; starts to read the hottest.  False: these bytes are not that.
  virtual bool restore_heat(std::string_view) { return true; }

 protected:
  virtual void begin(int, std::span<const std::int32_t>, const Uses&) {}
  virtual std::size_t wait(int layer, std::span<const std::int32_t> ids, std::size_t first) = 0;
  virtual const model::Expert& view(int layer, std::int32_t id) const = 0;
  virtual void release(int, std::span<const std::int32_t>) noexcept {}
};

// Views of the mapped checkpoint.
std::shared_ptr<Experts> mapped_experts(std::shared_ptr<const model::Model> model);

enum class Placement {
  kBest,    // mapped where host memory has no cap, or one that the whole checkpoint fits in
  kMapped,  // the others are for tests and benches
  kCached,
};

struct CacheOptions {
  std::size_t slots = 0;                        // at most; 0: as many as the budget has room for
  bool guesses = true;                          // reads what the next layer may need
  std::function<void(const std::string&)> log;  // sentences for the host
  // Opens a shard in place of open(O_RDONLY | O_DIRECT), for tests.
  std::function<int(const std::string& path)> open_shard;
};

// In slots under the budget.  Error(kNoMemory) when not even one expert fits, kIo when a shard
// cannot be opened.  `budget` outlives it.
std::shared_ptr<Experts> cached_experts(std::shared_ptr<const model::Model> model, Budget& budget,
                                        std::shared_ptr<store::ReadQueue> reads,
                                        const CacheOptions& options = {});

// Slots of a model under a cap, without making them.
struct SlotNeeds {
  std::uint64_t experts = 0;     // of the model and its draft stages
  std::uint64_t slot_bytes = 0;  // of one, as the budget counts it
  std::uint64_t least = 0;       // that stay in any case
  std::uint64_t most = 0;        // that it grows to where there is room
};
// Opens the shards and reads nothing of them but their first page.  Error(kIo) naming the shard.
SlotNeeds slot_needs(std::shared_ptr<const model::Model> model, std::uint64_t cap);

// Whether kBest means slots.
bool needs_cache(const model::Model& model, const Budget& budget);

}  // namespace v4i::experts
