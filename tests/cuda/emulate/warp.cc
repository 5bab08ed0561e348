// Barriers, shuffles, votes, asynchronous copies: what a kernel calls.
#include <cmath>

#include "tests/cuda/emulate/machine.h"

extern "C" __attribute__((weak)) void* __asan_region_is_poisoned(void* p, std::size_t bytes);

namespace v4i::emulate {

Index thread_index() { return self->index; }
Index block_index() { return self->grid->block; }
Index block_size() { return self->grid->threads; }
Index grid_size() { return self->grid->blocks; }
unsigned char* block_memory() { return self->grid->shared; }

void block_barrier(Place place) { Machine::mine().wait_at_barrier(0, 0, place); }

int block_count(bool vote, Place place) {
  Machine& m = Machine::mine();
  m.barrier(0).votes += vote ? 1 : 0;
  m.wait_at_barrier(0, 0, place);
  const int votes = m.barrier(0).votes;
  m.wait_at_barrier(0, 0, place);
  m.barrier(0).votes = 0;
  m.wait_at_barrier(0, 0, place);
  return votes;
}

void named_barrier(int id, int threads, Place place) {
  if (id < 1 || id >= static_cast<int>(kBarriers)) fail("named barriers are 1..15");
  if (threads < 1 || threads % static_cast<int>(kWarp) != 0)
    fail("a named barrier is for whole warps");
  Machine::mine().wait_at_barrier(static_cast<unsigned>(id), static_cast<unsigned>(threads), place);
}

void warp_barrier(Place place) { Machine::mine().meet(nullptr, nullptr, "__syncwarp", place); }

namespace {

struct Shuffle {
  std::uint64_t value;
  int from;
  std::uint64_t result;
};

void complete_shuffle(void* const* mine, std::uint32_t lanes) {
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((lanes >> i & 1) == 0) continue;
    Shuffle& s = *static_cast<Shuffle*>(mine[i]);
    const unsigned from = static_cast<unsigned>(s.from) % kWarp;
    if ((lanes >> from & 1) == 0) fail("a shuffle reads a lane that has ended");
    s.result = static_cast<const Shuffle*>(mine[from])->value;
  }
}

struct Vote {
  bool vote;
  std::uint32_t result;
};

void complete_ballot(void* const* mine, std::uint32_t lanes) {
  std::uint32_t all = 0;
  for (unsigned i = 0; i < kWarp; ++i)
    if ((lanes >> i & 1) != 0 && static_cast<const Vote*>(mine[i])->vote) all |= 1u << i;
  for (unsigned i = 0; i < kWarp; ++i)
    if ((lanes >> i & 1) != 0) static_cast<Vote*>(mine[i])->result = all;
}

template <class Step>
void butterfly(void* const* mine, std::uint32_t lanes, Step step) {
  if (lanes != ~0u) fail("a reduction over a warp some lanes of which have ended");
  float v[kWarp], w[kWarp];
  for (unsigned i = 0; i < kWarp; ++i) v[i] = *static_cast<const float*>(mine[i]);
  for (unsigned mask = kWarp / 2; mask != 0; mask /= 2) {
    for (unsigned i = 0; i < kWarp; ++i) w[i] = step(v[i], v[i ^ mask]);
    std::memcpy(v, w, sizeof v);
  }
  for (unsigned i = 0; i < kWarp; ++i) *static_cast<float*>(mine[i]) = v[i];
}

void complete_sum(void* const* mine, std::uint32_t lanes) {
  butterfly(mine, lanes, [](float a, float b) { return a + b; });
}

void complete_max(void* const* mine, std::uint32_t lanes) {
  butterfly(mine, lanes, [](float a, float b) { return std::fmax(a, b); });
}

struct Rows {
  std::uint32_t* out;
  const void* row;
  int count;
};

// ldmatrix: lane 8 i + r brings row r of matrix i; lane l gets words l % 4 of rows l / 4.
void complete_rows(void* const* mine, std::uint32_t lanes) {
  if (lanes != ~0u) fail("ldmatrix in a warp some lanes of which have ended");
  for (unsigned i = 0; i < kWarp; ++i) {
    const Rows& to = *static_cast<const Rows*>(mine[i]);
    for (int m = 0; m < to.count; ++m) {
      const Rows& from = *static_cast<const Rows*>(mine[static_cast<unsigned>(m) * 8 + i / 4]);
      std::memcpy(to.out + m, static_cast<const unsigned char*>(from.row) + i % 4 * 4, 4);
    }
  }
}

}  // namespace

std::uint64_t shuffle(std::uint64_t value, int from, Place place) {
  Shuffle s{value, from, 0};
  Machine::mine().meet(complete_shuffle, &s, "shuffle", place);
  return s.result;
}

std::uint32_t ballot(bool vote, Place place) {
  Vote v{vote, 0};
  Machine::mine().meet(complete_ballot, &v, "ballot", place);
  return v.result;
}

float warp_sum(float v, Place place) {
  Machine::mine().meet(complete_sum, &v, "sum over the warp", place);
  return v;
}

float warp_max(float v, Place place) {
  Machine::mine().meet(complete_max, &v, "maximum over the warp", place);
  return v;
}

void load_matrices(std::uint32_t* out, const void* row, int count, Place place) {
  if (static_cast<int>(self->index.x % kWarp) < count * 8) {
    check_access(row, 16, 16, "ldmatrix from");
    if (observer.access != nullptr) observer.access(row, 16, false, __builtin_return_address(0));
  }
  Rows r{out, row, count};
  Machine::mine().meet(complete_rows, &r, "ldmatrix", place);
}

[[gnu::noinline]] void check_access(const void* p, std::size_t bytes, std::size_t alignment,
                                    const char* what) {
  if (reinterpret_cast<std::uintptr_t>(p) % alignment != 0)
    Machine::mine().fail(Message("%s %p, which is not aligned", what, p));
  if (__asan_region_is_poisoned == nullptr) return;
  if (__asan_region_is_poisoned(const_cast<void*>(p), bytes) != nullptr)
    Machine::mine().fail(Message("%s %p, which lies outside of a buffer", what, p));
}

void note_atomic(const void* p, std::size_t bytes, const void* instruction) {
  if (observer.atomic != nullptr) observer.atomic(p, bytes, instruction);
}

void copy_async(void* shared, const void* global, std::size_t bytes) {
  check_access(global, bytes, bytes, "asynchronous copy from");
  check_access(shared, bytes, bytes, "asynchronous copy to");
  Machine& m = Machine::mine();
  const auto* to = static_cast<const unsigned char*>(shared);
  if (to < m.shared() || to + bytes > m.shared() + m.shared_bytes())
    m.fail(Message("asynchronous copy to %p, which is not in shared memory", shared));
  if (observer.access != nullptr) {  // it may happen now, or when it is waited for
    observer.access(global, bytes, false, __builtin_return_address(0));
    observer.access(shared, bytes, true, __builtin_return_address(0));
  }
  m.copies(self).push_back({shared, global, bytes, m.copy_group(self)});
  self->copies = true;
}

void copy_commit() { ++Machine::mine().copy_group(self); }

void copy_wait(int groups_left) {
  if (!self->copies) return;
  Machine& m = Machine::mine();
  std::vector<Copy>& all = m.copies(self);
  std::size_t done = 0;
  for (; done < all.size(); ++done) {
    const Copy& c = all[done];
    if (groups_left != 0 && m.copy_group(self) - c.group <= static_cast<unsigned>(groups_left))
      break;
    std::memcpy(c.to, c.from, c.bytes);
    if (observer.access != nullptr)
      observer.access(c.to, c.bytes, true, __builtin_return_address(0));
  }
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(done));
  self->copies = !all.empty();
}

}  // namespace v4i::emulate
