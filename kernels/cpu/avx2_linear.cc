// AVX2 + FMA: linear.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_avx2.inl"
#include "kernels/cpu/scales.inl"
#include "kernels/cpu/linear.inl"
// clang-format on

}  // namespace

void avx2::linear(const LinearArgs& a) { kernels::linear(a); }

}  // namespace v4i::kernels

#endif
