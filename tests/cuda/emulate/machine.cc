// The scheduler: see machine.h.
#include "tests/cuda/emulate/machine.h"

#include <cstdlib>
#include <map>
#include <memory>
#include <numeric>
#include <string_view>

#include "tests/cuda/emulate/failure.h"

namespace v4i::emulate {

__thread Thread* self __attribute__((tls_model("initial-exec"))) = nullptr;
Observer observer;

namespace {

std::map<std::string_view, Kernel>& kernels() {
  static std::map<std::string_view, Kernel> all;
  return all;
}

constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;

}  // namespace

Registration::Registration(const Kernel& kernel) { kernels().emplace(kernel.name, kernel); }

const Kernel* find_kernel(const char* name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : &found->second;
}

void fail(const char* what) { Machine::mine().fail(Message("%s", what)); }

Machine& Machine::make() {
  static thread_local std::unique_ptr<Machine> machine(new Machine);
  mine_ = machine.get();
  return *machine;
}

__thread Machine* Machine::mine_ __attribute__((tls_model("initial-exec"))) = nullptr;

std::uint64_t Machine::random() {
  random_ += kOdd;
  std::uint64_t x = random_;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  return (x ^ x >> 27) * 0x94d049bb133111eb >> 16;
}

// Schedule 0: a warp goes on as long as it can.  Any other: at random.
inline Thread* Machine::draw() {
  if (front_lanes_ != 0) {
    Thread* t = front_ + __builtin_ctz(front_lanes_);
    front_lanes_ &= front_lanes_ - 1;
    return t;
  }
  if (fresh_ < count_) return &threads_[fresh_++];
  if (ready_count_ == 0) return nullptr;
  Thread*& first = ready_[head_ % kMostThreads];
  if (seed_ != 0) {
    const auto i = static_cast<unsigned>((random() & 0xffffffff) * ready_count_ >> 32);
    std::swap(first, ready_[(head_ + i) % kMostThreads]);
  }
  ++head_;
  --ready_count_;
  return first;
}

inline void Machine::make_ready(Thread* t) { ready_[(head_ + ready_count_++) % kMostThreads] = t; }

// The running thread waits or stands in a list; another goes on.
inline void Machine::yield() {
  Thread* next = draw();
  if (next == self) return;
  if (next == nullptr) stuck();
  Fibre& here = *self->fibre;
  if (next->fibre == nullptr) next->fibre = fibres_.take();
  self = next;
  switch_fibre(here, *next->fibre);
}

// What every fibre runs: one thread of a block after the other.
void Machine::work() {
  Machine& m = mine();
  for (;;) {
    m.kernel_->body(m.args_);
    Fibre* here = self->fibre;
    m.end_thread();
    Thread* next = m.draw();
    if (next == nullptr && m.alive_ != 0) m.stuck();
    self->fibre = nullptr;
    if (next != nullptr && next->fibre == nullptr) {  // it starts on this stack
      next->fibre = here;
      self = next;
      continue;
    }
    m.fibres_.give_back(here);
    self = next;
    switch_fibre(*here, next != nullptr ? *next->fibre : m.host_);
  }
}

inline void Machine::end_thread() {
  if (self->copies) copy_wait(0);
  const unsigned lane = self->number % kWarp;
  Warp& w = warps_[self->number / kWarp];
  w.alive &= ~(1u << lane);
  --alive_;
  if (w.arrived != 0 && w.arrived == w.alive) complete(w, self - lane);
  Barrier& b = barriers_[0];
  if (b.arrived != 0 && b.arrived == alive_) open(b);
}

void Machine::open(Barrier& b) {
  if (observer.met != nullptr) {
    std::array<const Thread*, kMostThreads> all;
    unsigned count = 0;
    for (const Thread* t = b.first; t != nullptr; t = t->next) all[count++] = t;
    observer.met(all.data(), count);
  }
  Thread* t = b.first;
  b.first = nullptr;
  b.arrived = 0;
  for (; t != nullptr; t = t->next) {
    t->waits = false;
    make_ready(t);
  }
}

// Messages are large: they stay out of the frames that fibres park in.
void Machine::fail_at_barrier(const Barrier& b, unsigned id, unsigned expected, Place place) {
  if (id == 0)
    fail(where(Message("divergent barrier: this thread is at %s:%d, ", place.file, place.line),
               b.first));
  fail(where(Message("named barrier %u for %u threads at %s:%d, for %u where ", id, expected,
                     place.file, place.line, b.expected),
             b.first));
}

void Machine::fail_in_warp(const Warp& w, const char* what, Place place) {
  const Thread* first = self - self->number % kWarp;
  fail(
      where(Message("divergent warp: this thread is at %s:%d (%s), ", place.file, place.line, what),
            first + __builtin_ctz(w.arrived)));
}

void Machine::wait_at_barrier(unsigned id, unsigned expected, Place place) {
  Barrier& b = barriers_[id];
  if (b.arrived != 0 && (id == 0 ? !(b.first->place == place) : b.expected != expected))
    fail_at_barrier(b, id, expected, place);
  b.expected = expected;
  self->waits = true;
  self->place = place;
  self->next = nullptr;
  (b.arrived == 0 ? b.first : b.last->next) = self;
  b.last = self;
  ++b.arrived;
  if (b.arrived == (id == 0 ? alive_ : expected)) open(b);
  yield();
}

// All lanes are there; they may go on.
void Machine::complete(Warp& w, Thread* first) {
  const std::uint32_t lanes = w.arrived;
  w.arrived = 0;
  if (w.complete != nullptr) {
    w.complete(w.mine.data(), lanes);
  } else if (observer.met != nullptr) {  // __syncwarp alone orders memory
    std::array<const Thread*, kWarp> all;
    unsigned count = 0;
    for (std::uint32_t left = lanes; left != 0; left &= left - 1)
      all[count++] = first + __builtin_ctz(left);
    observer.met(all.data(), count);
  }
  if (seed_ == 0) {
    front_ = first;
    front_lanes_ = lanes;
    return;
  }
  for (std::uint32_t left = lanes; left != 0; left &= left - 1)
    make_ready(first + __builtin_ctz(left));
}

void Machine::meet(Complete complete_it, void* mine, const char* what, Place place) {
  const unsigned lane = self->number % kWarp;
  Warp& w = warps_[self->number / kWarp];
  if (w.arrived == 0) {
    w.complete = complete_it;
    w.what = what;
    w.place = place;
  } else if (w.complete != complete_it || !(w.place == place)) {
    fail_in_warp(w, what, place);
  }
  w.mine[lane] = mine;
  w.arrived |= 1u << lane;
  if (w.arrived == w.alive) complete(w, self - lane);
  yield();
}

Message& Machine::where(Message&& m, const Thread* t) const {
  m.add("thread %u ", unsigned{t->number});
  const Warp& w = warps_[t->number / kWarp];
  if (t->waits) return m.add("waits at %s:%d (barrier)", t->place.file, t->place.line);
  if ((w.arrived >> t->number % kWarp & 1) == 0) return m.add("has ended");
  return m.add("waits at %s:%d (%s)", w.place.file, w.place.line, w.what);
}

void Machine::stuck() {
  Message m("no thread can go on");
  const char* last = "";  // each place once
  int last_line = 0, places = 0;
  for (unsigned i = 0; i < count_ && places < 8; ++i) {
    const Thread& t = threads_[i];
    const Warp& w = warps_[i / kWarp];
    const bool in_warp = (w.arrived >> i % kWarp & 1) != 0;
    const Place p = t.waits ? t.place : in_warp ? w.place : Place{"ended", 0};
    if (p.line == last_line && std::strcmp(p.file, last) == 0) continue;
    where(std::move(m.add("%s", places++ == 0 ? ": " : ", ")), &t);
    last = p.file;
    last_line = p.line;
  }
  fail(m);
}

// From a thread: back to the host, which throws.  From the host: throws.
void Machine::fail(const Message& what) {
  Message m("%s", kernel_ == nullptr ? "no kernel" : kernel_->name);
  const Index& b = grid_.block;
  if (self != nullptr) m.add(", block %u %u %u, thread %u", b.x, b.y, b.z, unsigned{self->number});
  m.add(", schedule %llu: %s", static_cast<unsigned long long>(seed_), what.c_str());
  if (self == nullptr) throw Failure(m.c_str());
  failure_ = m;
  failed_ = true;
  switch_fibre(*self->fibre, host_);
  std::abort();
}

// After a failure: threads stopped in the middle are forgotten.
void Machine::abandon() {
  for (unsigned i = 0; i < count_; ++i) {
    if (threads_[i].fibre != nullptr) fibres_.abandon(threads_[i].fibre);
    threads_[i].fibre = nullptr;
    threads_[i].waits = threads_[i].copies = false;
    copies_[i].clear();
  }
  for (Warp& w : warps_) w.arrived = 0;
  for (Barrier& b : barriers_) b = Barrier();
}

void Machine::run_block(unsigned threads) {
  static constexpr unsigned char kPoison[] = {0xff, 0x7f, 0xab};
  if (shared_bytes_ != 0) std::memset(grid_.shared, kPoison[seed_ % 3], shared_bytes_);
  alive_ = count_ = threads;
  for (unsigned i = 0; i < threads; i += kWarp)
    warps_[i / kWarp].alive = threads - i >= kWarp ? ~0u : (1u << (threads - i)) - 1;
  head_ = ready_count_ = front_lanes_ = fresh_ = 0;
  if (seed_ != 0)
    for (fresh_ = 0; fresh_ < threads; ++fresh_) make_ready(&threads_[fresh_]);
  if (observer.begin_block != nullptr) observer.begin_block();
  Thread* first = draw();
  first->fibre = fibres_.take();
  self = first;
  switch_fibre(host_, *first->fibre);
  self = nullptr;
  if (!failed_) return;
  failed_ = false;
  abandon();
  throw Failure(failure_.c_str());
}

void Machine::check(const Kernel& kernel, const Index& blocks, unsigned threads,
                    std::size_t shared) {
  const auto refuse = [&](const Message& what) {
    throw Failure(Message("%s: %s", kernel.name, what.c_str()).c_str());
  };
  if (self != nullptr) fail(Message("a launch inside of a kernel"));
  if (threads == 0 || threads > kernel.threads)
    refuse(Message("%u threads; the kernel is made for 1..%u", threads, kernel.threads));
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0 || blocks.x > 0x7fffffff ||
      blocks.y > 65535 || blocks.z > 65535)
    refuse(Message("a grid of %u x %u x %u blocks", blocks.x, blocks.y, blocks.z));
  if (shared > 99 * 1024) refuse(Message("%zu bytes of shared memory; 101376 at most", shared));
}

void Machine::launch(const Kernel& kernel, const Index& blocks, unsigned threads,
                     std::size_t shared, const void* args, std::uint64_t seed) {
  check(kernel, blocks, threads, shared);
  kernel_ = &kernel;
  seed_ = seed;
  random_ = seed * kOdd;
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, shared) != 0) throw std::bad_alloc();
  const std::unique_ptr<void, void (*)(void*)> freed(memory, std::free);
  grid_.shared = static_cast<unsigned char*>(memory);
  shared_bytes_ = shared;
  args_ = static_cast<const unsigned char*>(args);
  grid_.blocks = blocks;
  grid_.threads = {threads, 1, 1};
  for (unsigned i = 0; i < threads; ++i) {
    threads_[i].index = {i, 0, 0};
    threads_[i].number = static_cast<std::uint16_t>(i);
    threads_[i].grid = &grid_;
  }
  if (observer.begin_launch != nullptr) observer.begin_launch(grid_, shared);

  // Schedule 0 in order; any other begins somewhere and takes every stride-th block.
  const std::uint64_t count = std::uint64_t{blocks.x} * blocks.y * blocks.z;
  std::uint64_t at = 0, stride = 1;
  if (seed != 0) {
    at = random() % count;
    stride = random() % count | 1;
    while (std::gcd(stride, count) != 1) ++stride;
  }
  for (std::uint64_t i = 0; i < count; ++i, at = (at + stride) % count) {
    grid_.block = {static_cast<unsigned>(at % blocks.x),
                   static_cast<unsigned>(at / blocks.x % blocks.y),
                   static_cast<unsigned>(at / blocks.x / blocks.y)};
    run_block(threads);
  }
}

}  // namespace v4i::emulate
