// NEON with BF16 (armv8.6-a, optional from armv8.2-a): linear for activations that are bf16 values.
//
// bfmmla multiplies two rows of W, four columns of each, by two tokens.  A token alone is a pair
// with itself, so one token and many take the same path through tile().
// Order of sums: the columns of a scale block (128 where there are none) from zero, times the
// scale, added to the sum.  The processor rounds inside bfmmla to odd and flushes subnormals,
// whatever FPCR says (FPCR.EBF, which no system sets by itself, makes it round as float32 does);
// each of its roundings is at most 2^-23 of the partial sum.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_neon.inl"
#include "kernels/cpu/scales.inl"
#include "kernels/cpu/neonbf16_tile.inl"
// clang-format on

// Rows whose sums stay in registers together, and tokens that meet them.
constexpr int kRowPairs = static_cast<int>(kLinearRows) / 2, kTokenPairs = 2;

// A token alone: weights go from memory through registers into the sums.
template <class F>
void one_token(const LinearArgs& a) {
  auto* x = reinterpret_cast<std::uint16_t*>(a.scratch);
  pack_pair(token_row(a, 0), token_row(a, 0), a.w.cols, x);
  for (std::int64_t r = a.row_begin; r < a.row_end; r += kLinearRows) {
    Rows<F> w[kRowPairs];
    for (int i = 0; i < kRowPairs; ++i) w[i] = rows_of<F>(a, r + 2 * i);
    if (a.row_end - r > kLinearRows / 2)
      tile<F, kRowPairs, 1>(a, w, w, x, r, 0, 1);
    else
      tile<F, kRowPairs / 2, 1>(a, w, w, x, r, 0, 1);
  }
}

// Tokens [t0, t1), packed in x, times kLinearRows rows that become bf16 once, in `panel`.
template <class F>
void rows_times_tokens(const LinearArgs& a, std::int64_t r, const std::uint16_t* x, std::int64_t t0,
                       std::int64_t t1, std::uint16_t* panel) {
  const std::int64_t cols = a.w.cols;
  Rows<F> scale[kRowPairs];
  Panel w[kRowPairs];
  for (int i = 0; i < kRowPairs; ++i) {
    scale[i] = rows_of<F>(a, r + 2 * i);
    w[i] = {panel + 2 * i * cols};
    for (std::int64_t k = 0; k < cols; k += 16) store(panel + 2 * (i * cols + k), scale[i].at(k));
  }
  std::int64_t t = t0;
  for (; t + 2 * kTokenPairs <= t1; t += 2 * kTokenPairs, x += 2 * kTokenPairs * cols)
    tile<F, kRowPairs, kTokenPairs>(a, scale, w, x, r, t, 2 * kTokenPairs);
  for (; t < t1; t += 2, x += 2 * cols)
    tile<F, kRowPairs, 1>(a, scale, w, x, r, t, t1 - t < 2 ? 1 : 2);
}

// How many tokens fit in scratch beside the panel.
std::int64_t packed_tokens(std::int64_t cols) {
  const std::int64_t all = linear_scratch_floats(cols) * 2 / cols;  // rows of bf16
  return (all - kLinearRows) / (2 * kTokenPairs) * (2 * kTokenPairs);
}

template <class F>
void many_tokens(const LinearArgs& a) {
  const std::int64_t cols = a.w.cols, most = packed_tokens(cols);
  auto* panel = reinterpret_cast<std::uint16_t*>(a.scratch);
  std::uint16_t* x = panel + kLinearRows * cols;
  for (std::int64_t t0 = 0; t0 < a.tokens; t0 += most) {
    const std::int64_t t1 = a.tokens - t0 < most ? a.tokens : t0 + most;
    for (std::int64_t t = t0; t < t1; t += 2)  // an odd last token is a pair with itself
      pack_pair(token_row(a, t), token_row(a, t + 1 < t1 ? t + 1 : t), cols, x + (t - t0) * cols);
    for (std::int64_t r = a.row_begin; r < a.row_end; r += kLinearRows)
      rows_times_tokens<F>(a, r, x, t0, t1, panel);
  }
}

// Row r, which has scales of its own kind: the float32 kernels.
void in_float32(LinearArgs a, std::int64_t r) {
  a.row_begin = r;
  a.row_end = r + 1;
  neon::linear(a);
}

template <class F>
void linear_of(const LinearArgs& a) {
  if (a.tokens == 1)
    one_token<F>(a);
  else
    many_tokens<F>(a);
  for (std::int64_t r = a.row_begin; F::kFormat != Format::kBF16 && r < a.row_end; ++r)
    if (!plain_row<F>(a.w, r)) in_float32(a, r);
}

}  // namespace

void neonbf16::linear(const LinearArgs& a) {
  const bool fp8 = a.w.format == Format::kFp8, by_32 = a.w.block_cols == 32;
  const bool blocks = a.w.format == Format::kBF16 || by_32 || (fp8 && a.w.block_cols == 128);
  if (!a.bf16_x || a.w.cols % kLinearBlock != 0 || !blocks || a.w.format == Format::kF32)
    return neon::linear(a);
  if (a.tokens == 0) return;
  if (a.w.format == Format::kBF16) return linear_of<Bf16>(a);
  if (fp8) return by_32 ? linear_of<Fp8By32>(a) : linear_of<Fp8>(a);
  linear_of<Fp4>(a);
}

}  // namespace v4i::kernels

#endif
