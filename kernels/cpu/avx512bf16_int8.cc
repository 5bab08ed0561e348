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
