// operator new of the test program, replaced by one that counts.
#include "tests/kv/allocations.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> g_count{0}, g_fail_in{0};

void* take(std::size_t bytes, std::size_t align) {
  ++g_count;
  if (align <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(align, (bytes + align - 1) / align * align);
}

}  // namespace

namespace v4i::test {

std::uint64_t allocations() { return g_count; }
void fail_allocation(std::uint64_t n) { g_fail_in = n; }

}  // namespace v4i::test

void* operator new(std::size_t bytes) {
  if (g_fail_in != 0 && --g_fail_in == 0) throw std::bad_alloc();
  void* p = take(bytes, 0);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new[](std::size_t bytes) { return ::operator new(bytes); }
void* operator new(std::size_t bytes, std::align_val_t align, const std::nothrow_t&) noexcept {
  return take(bytes, static_cast<std::size_t>(align));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 0); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 0); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
