// Quantisation of single values, the device's form of kernels/quant.h: the same bits.
//
//   const float largest = warp_max(fabsf(x));          // of the block of channels x is in
//   y = fp8_sim(x, largest);                           // fp8_sim of quant.h
//   code = fp8_code(x, fp8_exponent(largest));         // and what pack_row stores
//   scale byte = exponent + 127
//
// Blocks: fp8_sim takes the block that the caller took `largest` of (KV rows 64, inputs of products
// 128); fp4 blocks are 32 channels.  Needs no CUDA header; formats.h has the grids.
#pragma once

#include "kernels/cuda/kernel.cuh"
#include "kernels/formats.h"

namespace v4i::kernels::cuda {

// Exponents of the scale of a block whose largest magnitude is `largest`.
V4I_DEVICE int fp8_exponent(float largest) {
  return ceil_log2(fmaxf(largest, 1e-4f) * (1.0f / 448.0f));
}

V4I_DEVICE int fp4_exponent(float largest) {
  const int e = ceil_log2(fmaxf(largest, 6.0f * 0x1p-126f) * (1.0f / 6.0f));
  return e > -126 ? e : -126;
}

// 1 / 2^e, which float32 has up to e = 126; a larger scale means |x| > 2^128.
V4I_DEVICE float inverse_power(int e) {
  const int inverse = -e < -126 ? -126 : -e > 127 ? 127 : -e;
  return power_of_two(inverse);
}

// x / 2^exponent on the e4m3 grid, and its code.
V4I_DEVICE float fp8_rounded(float x, int exponent) {
  return round_e4m3(fminf(fmaxf(x * inverse_power(exponent), -448.0f), 448.0f));
}
V4I_DEVICE uint8_t fp8_code(float x, int exponent) { return encode_e4m3(fp8_rounded(x, exponent)); }

// The code of x / 2^exponent on the e2m1 grid: 0 to 15.
V4I_DEVICE uint8_t fp4_code(float x, int exponent) {
  return encode_e2m1(fminf(fmaxf(x * inverse_power(exponent), -6.0f), 6.0f));
}

// The value that is left of x, in a block whose largest magnitude is `largest`.
V4I_DEVICE float fp8_sim(float x, float largest) {
  const int e = fp8_exponent(largest);
  return fp8_rounded(x, e) * power_of_two(e);
}
V4I_DEVICE float fp4_sim(float x, float largest) {
  const int e = fp4_exponent(largest);
  return decode_e2m1(fp4_code(x, e)) * power_of_two(e);
}

}  // namespace v4i::kernels::cuda
