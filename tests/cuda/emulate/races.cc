// Finds accesses that nothing orders.  Kernels are compiled with -fsanitize=thread, whose calls in
// front of every access come here (tsan_hooks.cc) instead of to its library.
//
// For every word of 4 bytes that a launch touches: who accessed which of its bytes, and in which of
// its warp's epochs.  An epoch ends at every barrier that the warp takes part in.  A later access
// of another thread must know that epoch as over, or it is a race, if one of the two is a write.
// Among blocks of one launch nothing is ordered.  Atomic accesses do not race with each other.
#include "tests/cuda/emulate/races.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "tests/cuda/emulate/machine.h"

namespace v4i::emulate {
namespace {

constexpr unsigned kWarps = kMostThreads / kWarp, kSlots = 4;
constexpr std::uintptr_t kPageWords = 1024;

// thread: 10 bits, access: 2, bytes of the word: 4, epoch: 16.  0: empty (epochs begin at 1).
using Who = std::uint32_t;
Who pack(unsigned thread, Access access, unsigned bytes, unsigned epoch) {
  return thread | static_cast<unsigned>(access) << 10 | bytes << 12 | epoch << 16;
}
unsigned thread_of(Who w) { return w & 1023; }
Access access_of(Who w) { return static_cast<Access>(w >> 10 & 3); }
unsigned bytes_of(Who w) { return w >> 12 & 15; }
unsigned epoch_of(Who w) { return w >> 16; }

struct Word {
  std::uint32_t run;       // of a block: which one
  std::uint8_t mine[3];    // bytes that this block has accessed, by Access
  std::uint8_t others[3];  // likewise earlier blocks of this launch
  Who who[kSlots];
  std::int32_t place[kSlots];  // of the instruction, from here()
};

struct Page {
  Word word[kPageWords];
};

struct Races {
  std::uint32_t run = 0, launch = 0;  // of blocks; the first one of this launch
  const unsigned char *shared = nullptr, *machine = nullptr;
  std::size_t shared_bytes = 0;
  unsigned epoch[kWarps];
  unsigned known[kWarps][kWarps];  // [w][v]: the last epoch of v that w knows as over
  unsigned turn = 0;               // which slot is overwritten next
  std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages;
  struct {
    std::uintptr_t number;
    Page* page;
  } cache[256] = {};
};

Races& races() {
  static thread_local Races r;
  return r;
}

const char* here() { return reinterpret_cast<const char*>(&races); }

Word& word_at(Races& r, std::uintptr_t address) {
  const std::uintptr_t number = address / 4 / kPageWords;
  auto& cached = r.cache[number % std::size(r.cache)];
  if (cached.page == nullptr || cached.number != number) {
    std::unique_ptr<Page>& page = r.pages[number];
    if (page == nullptr) page.reset(new Page());
    cached = {number, page.get()};
  }
  return cached.page->word[address / 4 % kPageWords];
}

bool both_may(Access a, Access b) { return a == b && a != Access::kWrite; }

const char* name_of(Access a) {
  return a == Access::kRead ? "reads" : a == Access::kWrite ? "writes" : "changes atomically";
}

bool in_shared(const Races& r, std::uintptr_t address) {
  return address - reinterpret_cast<std::uintptr_t>(r.shared) < r.shared_bytes;
}

[[noreturn]] void report(const Races& r, const char* kind, Access access, std::uintptr_t address,
                         const void* place, Message rest) {
  Message m("%s: this thread %s ", kind, name_of(access));
  if (in_shared(r, address))
    m.add("byte %zu of shared memory", address - reinterpret_cast<std::uintptr_t>(r.shared));
  else
    m.add("address %#zx", address);
  add_source_line(m, place);
  Machine::mine().fail(m.add("%s", rest.c_str()));
}

void check_others(const Races& r, const Word& w, Access access, unsigned bytes,
                  std::uintptr_t address, const void* place) {
  for (const Access other : {Access::kRead, Access::kWrite, Access::kAtomic}) {
    if (both_may(access, other) || (w.others[static_cast<int>(other)] & bytes) == 0) continue;
    report(r, "race between blocks", access, address, place,
           Message(", which another block %s", name_of(other)));
  }
}

void check_mine(const Races& r, const Word& w, Access access, unsigned bytes,
                std::uintptr_t address, const void* place) {
  const unsigned thread = self->number, warp = thread / kWarp;
  for (unsigned i = 0; i < kSlots; ++i) {
    const Who o = w.who[i];
    if (o == 0 || thread_of(o) == thread || (bytes_of(o) & bytes) == 0) continue;
    if (both_may(access, access_of(o))) continue;
    const unsigned other = thread_of(o) / kWarp;
    const unsigned over = other == warp ? r.epoch[warp] - 1 : r.known[warp][other];
    if (epoch_of(o) <= over) continue;
    Message m(", which thread %u %s", thread_of(o), name_of(access_of(o)));
    add_source_line(m, here() + w.place[i]);
    report(r, "race", access, address, place, m.add(", with no barrier between"));
  }
}

// The slot to keep it in: the same thread's, or one that is empty, or in turn.
void keep(Races& r, Word& w, Who me, const void* place) {
  unsigned slot = kSlots;
  for (unsigned i = 0; i < kSlots && slot == kSlots; ++i)
    if (w.who[i] == 0 ||
        (thread_of(w.who[i]) == thread_of(me) && access_of(w.who[i]) == access_of(me) &&
         (bytes_of(w.who[i]) & ~bytes_of(me)) == 0))
      slot = i;
  if (slot == kSlots) slot = r.turn++ % kSlots;
  w.who[slot] = me;
  w.place[slot] = static_cast<std::int32_t>(static_cast<const char*>(place) - here());
}

void note_word(Races& r, std::uintptr_t address, unsigned bytes, Access access, const void* place) {
  Word& w = word_at(r, address);
  const Who me = pack(self->number, access, bytes, r.epoch[self->number / kWarp]);
  const bool shared = in_shared(r, address);
  if (w.run == r.run) {
    if (w.who[0] == me || w.who[1] == me || w.who[2] == me || w.who[3] == me) return;
  } else {
    const bool same_launch = w.run >= r.launch && !shared;
    for (int i = 0; i < 3; ++i) {
      w.others[i] = same_launch ? w.others[i] | w.mine[i] : 0;
      w.mine[i] = 0;
    }
    std::fill(std::begin(w.who), std::end(w.who), 0);
    w.run = r.run;
  }
  if (shared && access != Access::kWrite && (~w.mine[1] & bytes) != 0)
    report(r, "not written", access, address, place, Message(", which no thread wrote"));
  check_others(r, w, access, bytes, address, place);
  check_mine(r, w, access, bytes, address, place);
  w.mine[static_cast<int>(access)] |= static_cast<std::uint8_t>(bytes);
  keep(r, w, me, place);
}

void begin_launch(const Grid& grid, std::size_t shared) {
  Races& r = races();
  r.launch = r.run + 1;
  r.shared = grid.shared;
  r.shared_bytes = shared;
}

void begin_block() {
  Races& r = races();
  ++r.run;
  std::fill(std::begin(r.epoch), std::end(r.epoch), 1u);
  std::memset(r.known, 0, sizeof r.known);
}

void met(const Thread* const* threads, unsigned count) {
  Races& r = races();
  std::uint32_t warps = 0;
  for (unsigned i = 0; i < count; ++i) warps |= 1u << threads[i]->number / kWarp;
  unsigned known[kWarps] = {};
  for (unsigned w = 0; w < kWarps; ++w) {
    if ((warps >> w & 1) == 0) continue;
    for (unsigned v = 0; v < kWarps; ++v) known[v] = std::max(known[v], r.known[w][v]);
    known[w] = r.epoch[w];
  }
  for (unsigned w = 0; w < kWarps; ++w) {
    if ((warps >> w & 1) == 0) continue;
    std::memcpy(r.known[w], known, sizeof known);
    if (++r.epoch[w] > 0xffff)
      Machine::mine().fail(Message("too many barriers for the race check"));
  }
}

const bool watching = [] {
  observer.begin_launch = begin_launch;
  observer.begin_block = begin_block;
  observer.met = met;
  observer.access = [](const void* p, std::size_t bytes, bool write, const void* place) {
    note_access(p, bytes, write ? Access::kWrite : Access::kRead, place);
  };
  observer.atomic = [](const void* p, std::size_t bytes, const void* place) {
    note_access(p, bytes, Access::kAtomic, place);
  };
  return true;
}();

}  // namespace

void note_access(const void* p, std::size_t bytes, Access access, const void* place) {
  if (self == nullptr || !Machine::mine().watches(p)) return;
  Races& r = races();
  auto address = reinterpret_cast<std::uintptr_t>(p);
  const std::uintptr_t end = address + bytes;
  while (address < end) {
    const std::uintptr_t word = address & ~std::uintptr_t{3};
    const std::uintptr_t to = std::min(end, word + 4);
    const unsigned mask = ((1u << (to - word)) - 1) & ~((1u << (address - word)) - 1);
    note_word(r, word, mask, access, place);
    address = to;
  }
}

}  // namespace v4i::emulate
