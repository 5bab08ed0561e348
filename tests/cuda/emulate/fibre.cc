// Fibres: the switch is a few instructions on x86-64, ucontext elsewhere.
#include "tests/cuda/emulate/fibre.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#if !defined(__x86_64__) || V4I_EMULATE_UCONTEXT
#include <ucontext.h>
#endif

// There in programs that are built with AddressSanitizer.
extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack, const void* low,
                                                          std::size_t bytes);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack, const void** low,
                                                           std::size_t* bytes);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* p, std::size_t bytes);
}

namespace v4i::emulate {
namespace {

constexpr std::size_t kPage = 4096;
thread_local Fibre* left_fibre;  // for the one that goes on
thread_local void (*entry_code)();

bool sanitised() { return __sanitizer_start_switch_fiber != nullptr; }
std::size_t stack_bytes() { return sanitised() ? 256 * 1024 : 64 * 1024; }

void leave(Fibre& from, const Fibre& to) {
  left_fibre = &from;
  __sanitizer_start_switch_fiber(&from.fake_stack, to.low, to.bytes);
}

void arrive(void* fake_stack) {
  const void* low = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack, &low, &bytes);
  if (left_fibre->low != nullptr) return;  // the host thread's stack is learned here
  left_fibre->low = static_cast<unsigned char*>(const_cast<void*>(low));
  left_fibre->bytes = bytes;
}

void entry() {
  if (sanitised()) arrive(nullptr);
  entry_code();
}

}  // namespace

#if defined(__x86_64__) && !V4I_EMULATE_UCONTEXT

// Pushes what a call preserves, changes stacks, pops.  `call` and `ret` stay in pairs, so that the
// processor predicts the returns that follow: with boost.context's jump each of them costs 15 ns.
extern "C" void v4i_switch_stack(void** from, void* to);
asm(R"(
.pushsection .text
.hidden v4i_switch_stack
.globl v4i_switch_stack
.type v4i_switch_stack, @function
v4i_switch_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size v4i_switch_stack, .-v4i_switch_stack
.popsection
)");

static void go(Fibre& from, Fibre& to) { v4i_switch_stack(&from.context, to.context); }

static void park_at_entry(Fibre& f, unsigned char* top) {
  // From below: six registers, where to go, and a return address that nobody uses.
  void* words[8] = {};
  words[6] = reinterpret_cast<void*>(entry);
  f.context = top - sizeof words;
  std::memcpy(f.context, words, sizeof words);
}

#else

static void go(Fibre& from, Fibre& to) {
  ucontext_t here;
  from.context = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to.context));
}

static void park_at_entry(Fibre& f, unsigned char* top) {
  // The first context lies at the bottom of the stack that it describes.
  ucontext_t* c = reinterpret_cast<ucontext_t*>(f.low);
  getcontext(c);
  c->uc_stack.ss_sp = f.low + sizeof(ucontext_t);
  c->uc_stack.ss_size = static_cast<std::size_t>(top - f.low) - sizeof(ucontext_t);
  c->uc_link = nullptr;
  makecontext(c, entry, 0);
  f.context = c;
}

#endif

void switch_fibre(Fibre& from, Fibre& to) {
  if (!sanitised()) return go(from, to);
  leave(from, to);
  go(from, to);
  arrive(from.fake_stack);
}

// Tops that lie a multiple of the page apart would share their lines of the first cache.
static unsigned char* top_of(const Fibre& f, std::size_t number) {
  return f.low + f.bytes - number * 7 % 64 * 64;
}

Fibre* Fibres::make() {
  const std::size_t each = stack_bytes() + kPage;  // and a page that is closed, below
  if (region_ == nullptr) {
    void* p = mmap(nullptr, each * kMost, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    region_ = static_cast<unsigned char*>(p);
    region_bytes_ = each * kMost;
    all_ = new Fibre[kMost];
    idle_.reserve(kMost);
    entry_code = code_;
  }
  if (used_ == kMost) throw std::bad_alloc();
  Fibre& f = all_[used_];
  unsigned char* guard = region_ + each * used_;
  mprotect(guard, kPage, PROT_NONE);
  f.low = guard + kPage;
  f.bytes = stack_bytes();
  park_at_entry(f, top_of(f, used_));
  ++used_;
  return &f;
}

void Fibres::abandon(Fibre* f) {
  if (sanitised()) __asan_unpoison_memory_region(f->low, f->bytes);
  f->fake_stack = nullptr;
  park_at_entry(*f, top_of(*f, static_cast<std::size_t>(f - all_)));
  give_back(f);
}

Fibres::~Fibres() {
  if (region_ == nullptr) return;
  if (sanitised()) __asan_unpoison_memory_region(region_, region_bytes_);
  munmap(region_, region_bytes_);
  delete[] all_;
}

}  // namespace v4i::emulate
