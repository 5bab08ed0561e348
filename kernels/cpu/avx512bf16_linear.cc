// AVX-512 with BF16, VBMI and VNNI: linear for activations that are bf16 values.
//
// Order of sums, the same for few tokens and for many: a block of 128 columns is four
// vdpbf16ps from zero, times the block's scale, added to the sum; lanes are folded last.
// For many tokens the scale goes into the weight's exponent instead, which changes no bit:
// both are powers of two, and scales that could leave the normal range take the float32 way.
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
#include "kernels/cpu/bf16_of_fp8.inl"
#include "kernels/cpu/bf16_codes.inl"
#include "kernels/cpu/bf16_rows.inl"
#include "kernels/cpu/bf16_gemv.inl"
#include "kernels/cpu/bf16_unpack.inl"
#include "kernels/cpu/bf16_gemm.inl"
// clang-format on

// Row r, which has scales of its own kind: the float32 kernels.
void in_float32(LinearArgs a, std::int64_t r) {
  a.row_begin = r;
  a.row_end = r + 1;
  avx512::linear(a);
}

template <Format kFormat>
void linear_of(const LinearArgs& a) {
  in_blocks(a, linear_tokens(a.w.cols), [](const LinearArgs& part) {
    if (part.tokens <= few_tokens(kFormat))
      times_few_tokens<kFormat>(part);
    else
      many_tokens<kFormat>(part);
  });
  if constexpr (kFormat != Format::kBF16) other_rows(a, [&](std::int64_t r) { in_float32(a, r); });
}

}  // namespace

void avx512bf16::linear(const LinearArgs& a) {
  const bool quantised = a.w.format == Format::kFp8 || a.w.format == Format::kFp4;
  const bool blocks = !quantised || a.w.block_cols == (a.w.format == Format::kFp4 ? 32 : 128);
  if (!a.bf16_x || a.w.cols % kBlock != 0 || !blocks || a.w.format == Format::kF32)
    return avx512::linear(a);
  if (a.tokens == 0) return;
  switch (a.w.format) {
    case Format::kBF16:
      return linear_of<Format::kBF16>(a);
    case Format::kFp8:
      return linear_of<Format::kFp8>(a);
    case Format::kFp4:
      return linear_of<Format::kFp4>(a);
    case Format::kF32:
      return;
  }
}

}  // namespace v4i::kernels

#endif
