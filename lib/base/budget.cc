// Budget and the aligned memory behind Buffer; see budget.h.
#include "lib/base/budget.h"

#include <sys/mman.h>

#include <cstring>

#include "lib/base/error.h"

namespace v4i {

void Budget::take(std::uint64_t bytes, Use use, const char* what) {
  std::uint64_t have = total_.load();
  do {
    const std::uint64_t cap = cap_.load();
    if (bytes > cap || have > cap - bytes)
      fail(Code::kNoMemory, "{} needs {} bytes of host memory; {} of the budget of {} are in use",
           what, bytes, have, cap);
  } while (!total_.compare_exchange_weak(have, have + bytes));
  by_use_[static_cast<int>(use)] += bytes;
  std::uint64_t peak = peak_.load();
  while (peak < have + bytes && !peak_.compare_exchange_weak(peak, have + bytes)) {
  }
}

void Budget::give(std::uint64_t bytes, Use use) noexcept {
  by_use_[static_cast<int>(use)] -= bytes;
  total_ -= bytes;
}

namespace detail {

namespace {

// Larger ones come from the kernel as zero pages, which cost nothing until they are used: a
// workspace for 512 tokens and a prompt of 16.  KV rows are gathered from everywhere, so that
// large pages are asked for; in a workspace they would only have to be zeroed (start_bench).
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kLarge = ~std::size_t{0};  // it watches the ends of what operator new gives
#else
constexpr std::size_t kLarge = std::size_t{1} << 20;
#endif

void* own_alloc(std::size_t bytes, std::size_t align, Use use) {
  if (bytes < kLarge) {
    void* p = ::operator new (bytes, std::align_val_t{align}, std::nothrow);
    return p == nullptr ? nullptr : std::memset(p, 0, bytes);
  }
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  if (use == Use::kKv) ::madvise(p, bytes, MADV_HUGEPAGE);
#else
  static_cast<void>(use);
#endif
  return p;
}

void own_free(void* p, std::size_t bytes, std::size_t align) noexcept {
  if (bytes < kLarge)
    ::operator delete (p, std::align_val_t{align});
  else
    ::munmap(p, bytes);
}

}  // namespace

void* take_aligned(Budget& budget, std::size_t count, std::size_t size, std::size_t align, Use use,
                   const char* what) {
  if (count > (std::size_t{1} << 62) / size)
    fail(Code::kNoMemory, "{} needs {} x {} bytes, more than any machine has", what, count, size);
  const std::size_t bytes = count * size;
  budget.take(bytes, use, what);
  const HostAllocator& a = budget.allocator();
  void* p = a.alloc != nullptr ? a.alloc(bytes, align, a.user) : own_alloc(bytes, align, use);
  if (p == nullptr) {
    budget.give(bytes, use);
    fail(Code::kNoMemory, "{} needs {} bytes of host memory; the system has none left", what,
         bytes);
  }
  if (a.alloc != nullptr) std::memset(p, 0, bytes);
  return p;
}

void give_aligned(Budget& budget, void* p, std::size_t bytes, std::size_t align, Use use) noexcept {
  const HostAllocator& a = budget.allocator();
  if (a.alloc != nullptr) {
    if (a.free != nullptr) a.free(p, bytes, align, a.user);
  } else {
    own_free(p, bytes, align);
  }
  budget.give(bytes, use);
}

}  // namespace detail
}  // namespace v4i
