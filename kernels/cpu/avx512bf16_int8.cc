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
#include "kernels/cpu/int8_codes_by_32.inl"
#include "kernels/cpu/int8_codes_fp4.inl"
#include "kernels/cpu/int8_strips.inl"
#include "kernels/cpu/int8_x.inl"
#include "kernels/cpu/int8_gemv.inl"
#include "kernels/cpu/int8_pairs.inl"
#include "kernels/cpu/int8_gemm.inl"
// clang-format on

Groups tiles_of(const LinearArgs& a) { return {a.tokens, pairs_fit(a) ? kPairTile : kTile}; }

// Everything a call needs is in its scratch, but for tokens that are packed already.
template <Kind kKind>
void linear_int8_block(const LinearArgs& a) {
  const Groups tiles = tiles_of(a);
  const std::int64_t blocks = (a.w.cols + kInt8Block - 1) / kInt8Block;
  const std::int64_t fit = kLinearPanel / (blocks * kInt8Block) / kGroup * kGroup;
  const bool once = tiles.count <= block_tiles(a.w.cols);
  const std::int64_t rows = once || fit < kGroup ? kGroup : fit;
  float* sums = whole_lines(a.scratch);
  auto* panel = reinterpret_cast<std::uint8_t*>(sums + 2 * 64 * kTokenBlock);
  auto* unit = reinterpret_cast<float*>(panel + rows * blocks * kInt8Block);
  const bool ready = a.prepared != nullptr;
  const PackedX x =
      packed_x(a, ready ? const_cast<void*>(a.prepared) : whole_lines(unit + rows * blocks));
  if (!ready) pack_tiles<kKind>(a, tiles, 0, tiles.count, x);
  if (pairs_fit(a)) return pairs({a, x, panel, {}, {}}, tiles);
  if (tiles.count > 1) return many<kKind>({a, tiles, x, sums, panel, unit}, rows);
  if (a.tokens == 1) return few<kKind, 1>(a, x);
  if (a.tokens == 2) return few<kKind, 2>(a, x);
  few<kKind, 3>(a, x);
}

// Is a call for the kernels of this file?
bool in_int8(const LinearArgs& a) {
  return a.w.cols % 128 == 0 &&
         (a.w.block_cols == 32 || (a.w.format == Format::kFp8 && a.w.block_cols == 128));
}

}  // namespace

void avx512bf16::prepare_int8(const LinearArgs& a, int part, int parts, void* out) {
  if (!in_int8(a)) return;
  const Groups tiles = tiles_of(a);
  const std::int64_t begin = tiles.count * part / parts, end = tiles.count * (part + 1) / parts;
  (a.w.format == Format::kFp4 ? pack_tiles<Kind::kFp4>
                              : pack_tiles<Kind::kFp8>)(a, tiles, begin, end, packed_x(a, out));
}

void avx512bf16::linear_int8(const LinearArgs& a) {
  if (!in_int8(a)) return scalar::linear_int8(a);
  if (a.tokens == 0) return;
  in_blocks(a, linear_int8_tokens(a.w.cols),
            a.w.format == Format::kFp4 ? linear_int8_block<Kind::kFp4>
            : a.w.block_cols == 128    ? linear_int8_block<Kind::kFp8>
                                       : linear_int8_block<Kind::kFp8By32>);
  other_rows(a, [&](std::int64_t r) {  // scales that float32 products could leave the range by
    LinearArgs one = a;
    one.row_begin = r;
    one.row_end = r + 1;
    scalar::linear_int8(one);
  });
}

}  // namespace v4i::kernels

#endif
