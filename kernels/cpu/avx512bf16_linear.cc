// AVX-512 with BF16, VBMI and VNNI: linear for activations that are bf16 values.
//
// Order of sums, the same for few tokens and for many: a block of 128 columns is four
// vdpbf16ps from zero, times the block's scale, added to the sum; lanes are folded last.
// Where scales cover 32 columns, a lane adds columns of one of the four alone, times its scale.
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
#include "kernels/cpu/bf16_x.inl"
#include "kernels/cpu/bf16_gemv.inl"
#include "kernels/cpu/bf16_unpack.inl"
#include "kernels/cpu/bf16_gemm.inl"
// clang-format on

// Codes that are no numbers make the results of their rows NaN.
void mark_bad_rows(const LinearArgs& a) {
  const __m512i seven = _mm512_set1_epi8(0x7f);
  for (std::int64_t r = a.row_begin; r < a.row_end; ++r) {
    const std::uint8_t* codes = row_reader(a.w, r).data;
    __mmask64 bad = 0;
    for (std::int64_t k = 0; k < a.w.cols; k += 64) {
      const __mmask64 n =
          a.w.cols - k < 64 ? (std::uint64_t{1} << (a.w.cols - k)) - 1 : ~__mmask64{};
      bad |= _mm512_cmpeq_epi8_mask(_mm512_and_si512(_mm512_maskz_loadu_epi8(n, codes + k), seven),
                                    seven);
    }
    for (std::int64_t t = 0; bad != 0 && t < a.tokens; ++t)
      a.y[t * a.y_stride + r - a.y_begin] = from_bits(0x7fc00000u);
  }
}

// A call that is not for the kernels of this file.
void linear_float32(const LinearArgs& a) {
  avx512::linear(a);
  if (a.bf16_x && a.w.format == Format::kFp8) mark_bad_rows(a);
}

// Row r, which has scales of its own kind: the float32 kernels.
void in_float32(LinearArgs a, std::int64_t r) {
  a.row_begin = r;
  a.row_end = r + 1;
  linear_float32(a);
}

template <Kind kKind>
void linear_of(const LinearArgs& a) {
  in_blocks(a, linear_tokens(a.w.cols), [](const LinearArgs& part) {
    if (part.tokens <= few_tokens(kKind))
      times_few_tokens<kKind>(part);
    else
      many_tokens<kKind>(part);
  });
  if constexpr (kKind != Kind::kBF16) other_rows(a, [&](std::int64_t r) { in_float32(a, r); });
}

// Is a call for the kernels of this file?
bool in_bf16(const LinearArgs& a) {
  const bool blocks = a.w.block_cols == 32 || (a.w.format == Format::kFp8 && a.w.block_cols == 128);
  return a.bf16_x && a.w.cols % kBlock == 0 && a.w.format != Format::kF32 &&
         (a.w.format == Format::kBF16 || blocks);
}

// For what is a call that in_bf16 takes?
Kind kind_of(const Weight& w) {
  if (w.format == Format::kBF16) return Kind::kBF16;
  if (w.format == Format::kFp4) return Kind::kFp4;
  return w.block_cols == 128 ? Kind::kFp8 : Kind::kFp8By32;
}

}  // namespace

void avx512bf16::prepare(const LinearArgs& a, int part, int parts, void* out) {
  if (!in_bf16(a)) return;
  const Kind kind = kind_of(a.w);
  const std::int64_t tiles = tiles_of(kind, a.tokens).count;
  const std::int64_t begin = tiles * part / parts, end = tiles * (part + 1) / parts;
  auto* x = static_cast<std::uint16_t*>(out);
  if (kind == Kind::kBF16) pack_tiles<Kind::kBF16>(a, begin, end, x);
  if (kind == Kind::kFp8) pack_tiles<Kind::kFp8>(a, begin, end, x);
  if (kind == Kind::kFp8By32) pack_tiles<Kind::kFp8By32>(a, begin, end, x);
  if (kind == Kind::kFp4) pack_tiles<Kind::kFp4>(a, begin, end, x);
}

void avx512bf16::linear(const LinearArgs& a) {
  if (!in_bf16(a)) return linear_float32(a);
  if (a.tokens == 0) return;
  switch (kind_of(a.w)) {
    case Kind::kBF16:
      return linear_of<Kind::kBF16>(a);
    case Kind::kFp8:
      return linear_of<Kind::kFp8>(a);
    case Kind::kFp8By32:
      return linear_of<Kind::kFp8By32>(a);
    case Kind::kFp4:
      return linear_of<Kind::kFp4>(a);
  }
}

}  // namespace v4i::kernels

#endif
