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
#include "kernels/cpu/linear_rows.inl"
#include "kernels/cpu/linear.inl"
#include "kernels/cpu/avx2_gemv.inl"
// clang-format on

}  // namespace

void avx2::linear(const LinearArgs& a) {
  const Weight& w = a.w;
  if (a.tokens != 1 || w.cols % kBlock != 0) return kernels::linear(a);
  if (w.format == Format::kBF16) return bf16_token(a);
  if (w.format == Format::kFp8 && w.cols % w.block_cols == 0) return fp8_token(a);
  if (w.format == Format::kFp4 && w.block_cols == 32) return fp4_token(a);
  kernels::linear(a);
}

}  // namespace v4i::kernels

#endif
