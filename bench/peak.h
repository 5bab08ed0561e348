// What the arithmetic units can do: register-resident loops that kernels are compared with.
//
// Inline assembly, so that the file needs no instruction-set flags and the compiler removes
// nothing.  Call only where the kernels named avx512bf16 run.
#pragma once

#include <cstdint>

namespace v4i::bench {

constexpr std::int64_t kPeakFlops = 12 * 64;  // of one turn of the loop
constexpr std::int64_t kPeakIntOps = 12 * 128;

#if defined(__x86_64__)
#define V4I_PEAK_LOOP(instruction)                                                                 \
  for (std::int64_t i = 0; i < turns; ++i)                                                         \
  asm volatile(instruction                                                                         \
               " %%zmm30, %%zmm31, %%zmm0\n" instruction " %%zmm30, %%zmm31, %%zmm1\n" instruction \
               " %%zmm30, %%zmm31, %%zmm2\n" instruction " %%zmm30, %%zmm31, %%zmm3\n" instruction \
               " %%zmm30, %%zmm31, %%zmm4\n" instruction " %%zmm30, %%zmm31, %%zmm5\n" instruction \
               " %%zmm30, %%zmm31, %%zmm6\n" instruction " %%zmm30, %%zmm31, %%zmm7\n" instruction \
               " %%zmm30, %%zmm31, %%zmm8\n" instruction " %%zmm30, %%zmm31, %%zmm9\n" instruction \
               " %%zmm30, %%zmm31, %%zmm10\n" instruction " %%zmm30, %%zmm31, %%zmm11\n" ::        \
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",       \
                     "xmm9", "xmm10", "xmm11")

inline void bf16_turns(std::int64_t turns) { V4I_PEAK_LOOP("vdpbf16ps"); }
inline void int8_turns(std::int64_t turns) { V4I_PEAK_LOOP("vpdpbusd"); }
#undef V4I_PEAK_LOOP
#else
inline void bf16_turns(std::int64_t) {}
inline void int8_turns(std::int64_t) {}
#endif

}  // namespace v4i::bench
