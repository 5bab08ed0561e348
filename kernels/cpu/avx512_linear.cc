// AVX-512 (F, BW, VL, DQ): linear.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_avx512.inl"
#include "kernels/cpu/scales.inl"
#include "kernels/cpu/linear_rows.inl"
#include "kernels/cpu/linear.inl"
// clang-format on

}  // namespace

void avx512::linear(const LinearArgs& a) { kernels::linear(a); }

}  // namespace v4i::kernels

#endif
