// The calling thread flushes subnormals to zero, as audio engines make it, until the end of scope.
#pragma once

#include <cfloat>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace v4i::test {

class FlushToZero {
 public:
  explicit FlushToZero(bool on = true) : old_(get()) {
    if (on) set(old_ | kBits);
  }
  ~FlushToZero() { set(old_); }
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;

  // Asks the processor: half of the smallest normal number is 0.
  static bool happens() {
    volatile float smallest = FLT_MIN;
    return smallest * 0.5f == 0.0f;
  }

 private:
#if defined(__x86_64__)
  static constexpr std::uint64_t kBits = 0x8040;  // MXCSR: FTZ, DAZ
  static std::uint64_t get() { return _mm_getcsr(); }
  static void set(std::uint64_t v) { _mm_setcsr(static_cast<unsigned>(v)); }
#elif defined(__aarch64__)
  static constexpr std::uint64_t kBits = 1u << 24 | 1u << 19;  // FPCR: FZ, FZ16
  static std::uint64_t get() {
    std::uint64_t v;
    asm volatile("mrs %0, fpcr" : "=r"(v));
    return v;
  }
  static void set(std::uint64_t v) { asm volatile("msr fpcr, %0" : : "r"(v) : "memory"); }
#else
  static constexpr std::uint64_t kBits = 0;
  static std::uint64_t get() { return 0; }
  static void set(std::uint64_t) {}
#endif

  std::uint64_t old_;
};

}  // namespace v4i::test
