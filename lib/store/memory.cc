// The host's memory as a place for KV rows; see memory.h.
#include "lib/store/memory.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "lib/base/error.h"

namespace v4i::store {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kUseSlabs = false;  // it watches the ends of what operator new gives
#else
constexpr bool kUseSlabs = true;
#endif

}  // namespace

bool HostMemory::in_slabs(std::size_t bytes) const {
  return kUseSlabs && budget_->allocator().alloc == nullptr && Slabs::serves(bytes);
}

std::byte* HostMemory::allocate(std::size_t bytes, const char* what) {
  if (!in_slabs(bytes))
    return static_cast<std::byte*>(
        detail::take_aligned(*budget_, bytes, 1, Buffer<std::byte>::kAlign, Use::kKv, what));
  budget_->take(Place::kHost, Use::kKv, bytes, what);
  std::byte* p = nullptr;
  try {
    p = slabs_.take(bytes);
  } catch (const std::bad_alloc&) {
  }
  if (p != nullptr) return p;
  budget_->give(Place::kHost, Use::kKv, bytes);
  fail(Code::kNoMemory, "{} needs {} bytes of host memory; the system has none left", what, bytes);
}

void HostMemory::release(std::byte* p, std::size_t bytes) noexcept {
  if (!in_slabs(bytes))
    return detail::give_aligned(*budget_, p, bytes, Buffer<std::byte>::kAlign, Use::kKv);
  slabs_.give(p, bytes);
  budget_->give(Place::kHost, Use::kKv, bytes);
}

void HostMemory::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

void HostMemory::upload(std::byte* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

void HostMemory::download(void* to, const std::byte* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

bool same_bytes(Memory& memory, const std::byte* a, const std::byte* b, std::size_t bytes) {
  std::array<std::byte, 4096> x, y;
  for (std::size_t at = 0; at < bytes; at += x.size()) {
    const std::size_t n = std::min(x.size(), bytes - at);
    memory.download(x.data(), a + at, n);
    memory.download(y.data(), b + at, n);
    if (std::memcmp(x.data(), y.data(), n) != 0) return false;
  }
  return true;
}

}  // namespace v4i::store
