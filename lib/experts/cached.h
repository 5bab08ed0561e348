// Cached: experts in slots under the budget, filled from the shards.
//
// A slot is empty, being read, ready, or stopping: read for nobody, to the end of what has begun.
// Slots are added while the budget has room (may_grow) and
// go back to it, the coldest first, when others need memory (Reclaimer).  What one lease works
// with stays:
//
//   wanted   of the ids that the lease has still to hand out; evicted only for an earlier one
//   pinned   handed out by the last wait()
//
// One mutex; reads are waited for without it.  view() of pinned experts needs no lock.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "lib/experts/expert_files.h"
#include "lib/experts/experts.h"
#include "lib/experts/guesses.h"
#include "lib/experts/heat.h"
#include "lib/store/slot_memory.h"

namespace v4i::experts {

class Cached final : public Experts, public Reclaimer {
 public:
  Cached(std::shared_ptr<const model::Model> model, Budget& budget,
         std::shared_ptr<store::ReadQueue> reads, const CacheOptions& options);
  ~Cached() override;
  static SlotNeeds needs(const ExpertFiles& files, std::uint64_t cap);

  void hint(int layer, std::span<const std::int32_t> ids, bool certain) noexcept override;
  bool takes_hints() const noexcept override;
  bool wants_guesses() noexcept override;
  Stats stats() const override;
  std::string heat() const override;
  bool restore_heat(std::string_view bytes) override;

  std::uint64_t give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept override;

 protected:
  void begin(int layer, std::span<const std::int32_t> ids, const Uses& uses) override;
  std::size_t wait(int layer, std::span<const std::int32_t> ids, std::size_t first) override;
  const model::Expert& view(int layer, std::int32_t id) const override {
    return place_[key(layer, id)]->expert;
  }
  void release(int layer, std::span<const std::int32_t> ids) noexcept override;

 private:
  enum class State { kEmpty, kReading, kReady, kStopping };
  struct Slot {
    store::SlotMemory memory;
    std::unique_ptr<store::ReadRequest[]> requests;
    std::size_t index = 0;  // in slots_
    State state = State::kEmpty;
    ExpertId which;
    std::size_t reads = 0;  // of `requests`
    bool hinted = false;    // a hint brought it, and it was not used since
    bool awaited = false;   // ... for the next time that its layer is acquired
    float doubt = 0;        // of that: tokens more until it is used, expected
    bool wanted = false, pinned = false;
    model::Expert expert;
    std::span<store::ReadRequest> all() { return {requests.get(), reads}; }
  };
  struct Current {  // the lease
    bool lives = false;
    int layer = 0;
    std::span<const std::int32_t> ids;
    std::size_t first = 0;  // not handed out before the last wait()
    std::size_t next = 0;   // all before it have slots
  };
  using Lock = std::unique_lock<std::mutex>;

  std::size_t key(int layer, std::int32_t id) const {
    return static_cast<std::size_t>(layer) * static_cast<std::size_t>(files_.experts()) +
           static_cast<std::size_t>(id);
  }
  std::size_t experts_in_all() const { return files_.count(); }

  // ---- cached.cc: a lease.  mutex_ is held.
  void count(Slot* slot);
  void adopt(Slot& slot) noexcept;
  Slot* seat(std::size_t i, bool must);
  void read_more();
  void wait_for_slot(std::size_t first, Lock& lock);
  void wait_for(Slot& slot, Lock& lock);
  void say_waves(Lock& lock);
  void leave() noexcept;

  // ---- cached_slots.cc: whose slot is whose.  mutex_ is held.
  static constexpr float kAnyTime = -1;
  bool may_grow() const;
  Slot* grow() noexcept;
  // An empty slot, for the cost of an expert that is used later than in `tokens`; or null.
  Slot* obtain(float tokens) noexcept;
  Slot* vacant() noexcept;
  Slot* coldest(float tokens) noexcept;
  Slot* last_wanted(std::size_t after) noexcept;
  bool can_go(const Slot& s) const;
  float next_use(const Slot& s) const;
  // False: a read that has begun goes on, and the slot is empty when it has ended.
  bool evict(Slot& s) noexcept;
  void drop(Slot& s) noexcept;  // gives its memory back
  bool drop_coldest() noexcept;
  void start(Slot& s, ExpertId which, bool hint);
  void await(Slot& s, bool on) noexcept;
  // Whether it is ready.  Error when its reads failed; it is empty then.
  bool settle(Slot& s);
  bool settle_quietly(Slot& s) noexcept;
  void end_hints_of(int layer) noexcept;
  void fill() noexcept;

  ExpertFiles files_;
  Budget& budget_;
  const std::shared_ptr<store::ReadQueue> reads_;
  const CacheOptions options_;
  const std::size_t slot_cost_;  // bytes of the budget
  std::size_t floor_ = 0;        // slots that stay

  mutable std::mutex mutex_;
  Heat heat_;
  Guesses guesses_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> place_;  // by key
  Current current_;
  int now_ = 0;              // the layer that was acquired last
  std::size_t awaited_ = 0;  // slots
  bool said_waves_ = false;
  Stats stats_;
};

}  // namespace v4i::experts
