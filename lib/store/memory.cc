// The host's memory as a place for KV rows; see memory.h.
#include "lib/store/memory.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace v4i::store {

std::byte* HostMemory::allocate(std::size_t bytes, const char* what) {
  return static_cast<std::byte*>(
      detail::take_aligned(*budget_, bytes, 1, Buffer<std::byte>::kAlign, Use::kKv, what));
}

void HostMemory::release(std::byte* p, std::size_t bytes) noexcept {
  detail::give_aligned(*budget_, p, bytes, Buffer<std::byte>::kAlign, Use::kKv);
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
