// Matrix times activations, weights in the formats of the official checkpoints.  Spec 1.3.
#pragma once

#include <cstdint>

#include "lib/tensor/weight.h"

namespace v4i::kernels {

using Format = WeightFormat;

// y[t, r] = sum_k W[r, k] x[t, k] for t < tokens and r in [row_begin, row_end).
// Float32 accumulation in an order that depends on cols alone.  A bf16 or float32 weight that is no
// finite number makes every result of its row none; codes of fp8 and fp4 must be numbers, but see
// KernelTable::nan_codes.
struct LinearArgs {
  Weight w;
  std::int64_t row_begin, row_end;
  const float* x;  // [*, x_stride]
  std::int64_t x_stride;
  const std::int32_t* x_row;  // token t reads row x_row[t] of x; null: row t
  float* y;                   // [tokens, y_stride], column r - y_begin is W's row r
  std::int64_t y_stride;
  std::int64_t tokens;
  bool round_bf16;  // round results to bf16
  float* scratch;   // linear_scratch_floats(cols) floats, private to the thread
  std::int64_t y_begin = 0;
  bool bf16_x = false;             // every value of x is a bf16 value (native numerics)
  const void* prepared = nullptr;  // what KernelTable::prepare made of these tokens, or null
};

// The product of the `fast` numerics, linear_int8: x and W (fp8 or fp4) as int8, block by block.
//   x  q = rint(x * (127 / m)), m = max |x| of kInt8Block columns; its scale is m / 127
//   W  q = rint(w / unit), unit = 2^(E - 6) of kInt8Block columns of a row; 2^E is the greatest
//      power of two that a weight of them reaches, where fp8 codes below 2^-6 count as 2^-6
//   y  sum over the blocks of (sum of q_w q_x) * unit * scale
// Sums of one block are exact.  Codes of the upper four octaves of a block keep their value, so an
// fp4 block whose scales lie within 2^3 of each other loses nothing.  rint: ties to even.  A block
// of x with an infinity or a NaN in it makes the row NaN.
constexpr std::int64_t kInt8Block = 1024;

constexpr std::int64_t kLinearRows = 8;     // rows dequantised together
constexpr std::int64_t kLinearBlock = 128;  // columns of a partial sum in bf16 arithmetic

// Bytes of bf16 words: of the tokens that are packed together, and of the rows that meet them.
constexpr std::int64_t kLinearPacked = std::int64_t{2} << 20;
constexpr std::int64_t kLinearPanel = std::int64_t{256} << 10;
constexpr std::int64_t kLinearTokenBlock = 48;  // tokens whose sums are kept for eight rows

constexpr std::int64_t linear_tokens(std::int64_t cols) {
  const std::int64_t fit = kLinearPacked / 2 / (cols > 0 ? cols : 1) / 6 * 6;
  return fit < 6 ? 6 : fit;
}
// Of linear_int8, whose packed tokens may be as many bytes.
constexpr std::int64_t kInt8MostTokens = 1024;
constexpr std::int64_t linear_int8_tokens(std::int64_t cols) {
  const std::int64_t fit = kLinearPacked / (cols > 0 ? cols : 1) / 6 * 6;
  return fit < 6 ? 6 : fit < kInt8MostTokens ? fit : kInt8MostTokens;
}
// Of KernelTable::prepare.
constexpr std::int64_t linear_prepared_bytes(std::int64_t cols, std::int64_t tokens) {
  return 2 * (cols < kLinearBlock ? kLinearBlock : cols) * tokens;
}
// Grows with cols, as linear_tokens(cols) * cols does not: one scratch serves all widths.
constexpr std::int64_t linear_scratch_floats(std::int64_t cols) {
  const auto most = [](std::int64_t a, std::int64_t b) { return a > b ? a : b; };
  const std::int64_t float32 = kLinearRows * ((cols + 15) / 16 * 16);
  const std::int64_t panel = most(kLinearPanel / 4, kLinearRows * cols / 2);
  const std::int64_t bf16 =
      16 + 2 * 64 * kLinearTokenBlock + panel + most(kLinearPacked / 4, 3 * cols);
  // Sums, a panel, tokens; 17 floats of each block of a token, one of each block of a row.
  const std::int64_t padded = (cols + kInt8Block - 1) / kInt8Block * kInt8Block;
  const std::int64_t rows = most(kLinearPanel, kLinearRows * padded);
  const std::int64_t blocks =
      most(kLinearPacked / kInt8Block + kInt8MostTokens, 6 * padded / kInt8Block);
  const std::int64_t int8 = 32 + 2 * 64 * kLinearTokenBlock + rows / 4 +
                            most(kLinearPacked, 6 * cols) / 4 + 17 * blocks + rows / kInt8Block;
  return most(float32, most(bf16, int8));
}

}  // namespace v4i::kernels
