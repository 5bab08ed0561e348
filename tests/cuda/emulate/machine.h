// The block that runs: its threads, who of them can go on, who waits for what.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tests/cuda/emulate/core.h"
#include "tests/cuda/emulate/fibre.h"
#include "tests/cuda/emulate/message.h"

namespace v4i::emulate {

constexpr unsigned kWarp = 32, kMostThreads = 1024, kBarriers = 16;

// Called once, by the lane that arrives last; mine[lane] is what each lane of `lanes` brought.
using Complete = void (*)(void* const* mine, std::uint32_t lanes);

// The operands of a warp's mma: d += a b.
struct Tile {
  alignas(64) float a[16][16], b[16][8], d[16][8];
};

struct Warp {
  std::uint32_t alive = 0, arrived = 0;  // lanes
  Complete complete = nullptr;
  const char* what = nullptr;
  Place place;
  std::array<void*, kWarp> mine{};
};

struct Barrier {
  unsigned arrived = 0, expected = 0;
  Thread *first = nullptr, *last = nullptr;  // those that wait
  int votes = 0;
};

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
  unsigned group;
};

// What watches the order of accesses (races.cc); null members are not called.
struct Observer {
  void (*begin_launch)(const Grid& grid, std::size_t shared) = nullptr;
  void (*begin_block)() = nullptr;
  void (*met)(const Thread* const* threads, unsigned count) = nullptr;  // at a barrier
  void (*access)(const void* p, std::size_t bytes, bool write, const void* place) = nullptr;
  void (*atomic)(const void* p, std::size_t bytes, const void* place) = nullptr;
};
extern Observer observer;

class Machine {
 public:
  // Of this host thread.
  static Machine& mine() { return mine_ != nullptr ? *mine_ : make(); }

  // Throws Failure where a launch is not possible.
  void check(const Kernel& kernel, const Index& blocks, unsigned threads, std::size_t shared);
  void launch(const Kernel& kernel, const Index& blocks, unsigned threads, std::size_t shared,
              const void* args, std::uint64_t seed);

  void wait_at_barrier(unsigned id, unsigned expected, Place place);
  void meet(Complete complete, void* mine, const char* what, Place place);
  [[noreturn]] void fail(const Message& what);

  Tile& tile() { return tiles_[self->number / kWarp]; }
  Barrier& barrier(unsigned id) { return barriers_[id]; }
  std::vector<Copy>& copies(const Thread* t) { return copies_[t->number]; }
  unsigned& copy_group(const Thread* t) { return copy_group_[t->number]; }
  // Memory of the kernel's: neither a thread's own, nor arguments, nor the emulator's.
  bool watches(const void* p) const {
    const auto* b = static_cast<const unsigned char*>(p);
    return !fibres_.contains(p) && !(b >= args_ && b < args_ + kernel_->args_bytes);
  }
  const unsigned char* shared() const { return grid_.shared; }
  std::size_t shared_bytes() const { return shared_bytes_; }
  std::uint64_t seed() const { return seed_; }

 private:
  Machine() : fibres_(&Machine::work) {}
  static Machine& make();
  static void work();

  static __thread Machine* mine_ __attribute__((tls_model("initial-exec")));

  void run_block(unsigned threads);
  void end_thread();
  void abandon();
  Thread* draw();
  void yield();
  void make_ready(Thread* t);
  [[gnu::noinline]] void open(Barrier& b);
  [[gnu::noinline]] void complete(Warp& w, Thread* lanes);
  [[noreturn, gnu::noinline]] void stuck();
  [[noreturn, gnu::noinline]] void fail_at_barrier(const Barrier& b, unsigned id, unsigned expected,
                                                   Place place);
  [[noreturn, gnu::noinline]] void fail_in_warp(const Warp& w, const char* what, Place place);
  Message& where(Message&& m, const Thread* t) const;
  std::uint64_t random();

  Fibres fibres_;
  Fibre host_;
  Grid grid_;
  const Kernel* kernel_ = nullptr;
  const unsigned char* args_ = nullptr;
  std::size_t shared_bytes_ = 0;
  std::uint64_t seed_ = 0, random_ = 0;
  Message failure_{"%s", ""};
  bool failed_ = false;
  unsigned alive_ = 0, count_ = 0;  // threads of the block
  // Those that can run: lanes of the warp that met last, first of all; then those that have not
  // started, fresh_ and up; then ready_[(head_ + i) % kMostThreads], i < ready_count_.
  std::uint32_t front_lanes_ = 0;
  Thread* front_ = nullptr;
  unsigned fresh_ = 0;
  std::array<Thread*, kMostThreads> ready_{};
  unsigned head_ = 0, ready_count_ = 0;
  std::array<Thread, kMostThreads> threads_;
  std::array<Warp, kMostThreads / kWarp> warps_;
  std::array<Tile, kMostThreads / kWarp> tiles_;
  std::array<Barrier, kBarriers> barriers_;
  std::array<std::vector<Copy>, kMostThreads> copies_;
  std::array<unsigned, kMostThreads> copy_group_{};
};

}  // namespace v4i::emulate
