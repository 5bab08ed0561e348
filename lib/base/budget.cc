// Budget and the aligned memory behind Buffer; see budget.h.
#include "lib/base/budget.h"

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

void* take_aligned(Budget& budget, std::size_t count, std::size_t size, std::size_t align, Use use,
                   const char* what) {
  if (count > (std::size_t{1} << 62) / size)
    fail(Code::kNoMemory, "{} needs {} x {} bytes, more than any machine has", what, count, size);
  const std::size_t bytes = count * size;
  budget.take(bytes, use, what);
  const HostAllocator& a = budget.allocator();
  void* p = a.alloc != nullptr ? a.alloc(bytes, align, a.user)
                               : ::operator new(bytes, std::align_val_t{align}, std::nothrow);
  if (p == nullptr) {
    budget.give(bytes, use);
    fail(Code::kNoMemory, "{} needs {} bytes of host memory; the system has none left", what,
         bytes);
  }
  std::memset(p, 0, bytes);
  return p;
}

void give_aligned(Budget& budget, void* p, std::size_t bytes, std::size_t align, Use use) noexcept {
  const HostAllocator& a = budget.allocator();
  if (a.alloc != nullptr) {
    if (a.free != nullptr) a.free(p, bytes, align, a.user);
  } else {
    ::operator delete(p, std::align_val_t{align});
  }
  budget.give(bytes, use);
}

}  // namespace detail
}  // namespace v4i
