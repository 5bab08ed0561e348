// AVX-512 with VNNI and VBMI: linear_int8.  See kernels/linear.h for what is computed.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/int8_x.h"
#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_avx512.inl"
#include "kernels/cpu/bf16_of_fp8.inl"
#include "kernels/cpu/bf16_codes.inl"
#include "kernels/cpu/bf16_rows.inl"
#include "kernels/cpu/int8_codes.inl"
#include "kernels/cpu/int8_codes_fp4.inl"
#include "kernels/cpu/int8_x.inl"
#include "kernels/cpu/int8_gemv.inl"
#include "kernels/cpu/int8_pairs.inl"
#include "kernels/cpu/int8_gemm.inl"
// clang-format on

// Everything a call needs is in its scratch.
template <Format kFormat>
void linear_int8_block(const LinearArgs& a) {
  const std::int64_t cols = a.w.cols, blocks = (cols + kInt8Block - 1) / kInt8Block;
  const std::int64_t fit = kLinearPanel / (blocks * kInt8Block) / kGroup * kGroup;
  const std::int64_t rows = a.tokens <= kTokenBlock || fit < kGroup ? kGroup : fit;
  float* sums = whole_lines(a.scratch);
  auto* panel = reinterpret_cast<std::uint8_t*>(sums + 2 * 64 * kTokenBlock);
  auto* x = reinterpret_cast<std::int8_t*>(panel + rows * blocks * kInt8Block);
  auto* first = reinterpret_cast<std::int32_t*>(x + a.tokens * cols);
  auto* scale = reinterpret_cast<float*>(first + 16 * a.tokens * blocks);
  const Gemm g{a, {x, first, scale, cols, blocks}, sums, panel, scale + a.tokens * blocks};
  if (kFormat == Format::kFp4 && pairs_fit(a)) return pairs({a, g.x, panel, {}, {}});
  if (a.tokens > kInt8Few) return many<kFormat>(g, rows);
  pack_tile<kFormat>(a, g.x, 0, a.tokens);
  if (a.tokens == 1) return few<kFormat, 1>(a, g.x);
  if (a.tokens == 2) return few<kFormat, 2>(a, g.x);
  few<kFormat, 3>(a, g.x);
}

}  // namespace

void avx512bf16::linear_int8(const LinearArgs& a) {
  const bool fp4 = a.w.format == Format::kFp4;
  if (a.w.cols % 128 != 0 || a.w.block_cols != (fp4 ? 32 : 128)) return scalar::linear_int8(a);
  if (a.tokens == 0) return;
  in_blocks(a, linear_int8_tokens(a.w.cols),
            fp4 ? linear_int8_block<Format::kFp4> : linear_int8_block<Format::kFp8>);
  other_rows(a, [&](std::int64_t r) {  // scales that float32 products could leave the range by
    LinearArgs one = a;
    one.row_begin = r;
    one.row_end = r + 1;
    scalar::linear_int8(one);
  });
}

}  // namespace v4i::kernels

#endif
