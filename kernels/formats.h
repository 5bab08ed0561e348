// Number formats of the V4 family, one value at a time.  Spec 1.3 and 2.1.
//
// Written with integers and exact multiplications by powers of two, so that a host
// thread that flushes subnormals (audio engines set FTZ|DAZ) gets the same values.
// static, not inline: a file built for another instruction set must not hand its
// copy to the rest of the program.  V4I_EVERYWHERE: kernels/cuda calls them too.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if !defined(V4I_EVERYWHERE)
#if defined(__CUDACC__)
#define V4I_EVERYWHERE __host__ __device__
#else
#define V4I_EVERYWHERE
#endif
#endif

namespace v4i::kernels {

V4I_EVERYWHERE static inline float from_bits(std::uint32_t u) {
  float f;
  std::memcpy(&f, &u, sizeof f);
  return f;
}

V4I_EVERYWHERE static inline std::uint32_t to_bits(float f) {
  std::uint32_t u;
  std::memcpy(&u, &f, sizeof u);
  return u;
}

// 2^e for -126 <= e <= 127.
V4I_EVERYWHERE static inline float power_of_two(int e) {
  return from_bits(static_cast<std::uint32_t>(e + 127) << 23);
}

V4I_EVERYWHERE static inline float decode_bf16(std::uint16_t code) {
  return from_bits(std::uint32_t{code} << 16);
}

// Round to nearest, ties to even.  NaN is not expected.
V4I_EVERYWHERE static inline float round_bf16(float x) {
  const std::uint32_t u = to_bits(x);
  return from_bits((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u);
}

V4I_EVERYWHERE static inline std::uint16_t encode_bf16(float x) {
  return static_cast<std::uint16_t>(to_bits(round_bf16(x)) >> 16);
}

// e4m3fn: codes 0x7f and 0xff are NaN, 0x7e is 448, 0x01 is 2^-9.
V4I_EVERYWHERE static inline float decode_e4m3(std::uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  float v;
  if ((code & 0x7f) == 0x7f)
    v = from_bits(0x7fc00000u);
  else if (exponent == 0)
    v = static_cast<float>(mantissa) * 0x1p-9f;
  else
    v = static_cast<float>(8 + mantissa) * power_of_two(exponent - 10);
  return (code & 0x80) != 0 ? -v : v;
}

// e2m1: 0 .5 1 1.5 2 3 4 6, bit 3 is the sign.
V4I_EVERYWHERE static inline float decode_e2m1(unsigned code) {
  constexpr float kMagnitude[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return (code & 8) != 0 ? -kMagnitude[code & 7] : kMagnitude[code & 7];
}

// ue8m0: 2^(code - 127).  Code 0 is 2^-127, a subnormal float32; 255 is NaN.
V4I_EVERYWHERE static inline double decode_ue8m0(std::uint8_t code) {
  return code == 255 ? static_cast<double>(from_bits(0x7fc00000u)) : std::ldexp(1.0, code - 127);
}

// The smallest power of two >= v as an exponent, from the bits of v (v > 0, normal).
V4I_EVERYWHERE static inline int ceil_log2(float v) {
  const std::uint32_t u = to_bits(v);
  return static_cast<int>(u >> 23 & 255) - 127 + ((u & 0x7fffff) != 0 ? 1 : 0);
}

// The nearest e4m3 value of |x| <= 448, ties to the even code.
V4I_EVERYWHERE static inline float round_e4m3(float x) {
  const std::uint32_t u = to_bits(x), sign = u & 0x80000000u;
  const float a = from_bits(u & 0x7fffffffu);
  if (a < 0x1p-6f) {  // the subnormal range has steps of 2^-9
    constexpr float kShift = 1.5f * 0x1p14f;
    return from_bits(to_bits((a + kShift) - kShift) | sign);
  }
  const std::uint32_t r = (to_bits(a) + 0x7ffff + (to_bits(a) >> 20 & 1)) & 0xfff00000u;
  return from_bits(r | sign);
}

// The code of a value that round_e4m3 returned.
V4I_EVERYWHERE static inline std::uint8_t encode_e4m3(float x) {
  const std::uint32_t u = to_bits(x);
  const std::uint32_t sign = u >> 24 & 0x80;
  const float a = from_bits(u & 0x7fffffffu);
  if (a < 0x1p-6f) return static_cast<std::uint8_t>(sign | static_cast<std::uint32_t>(a * 512.0f));
  return static_cast<std::uint8_t>(sign | ((u >> 20 & 0x7ff) - (120u << 3)));
}

// The code of the nearest e2m1 value of |x| <= 6, ties to the even code.
V4I_EVERYWHERE static inline std::uint8_t encode_e2m1(float x) {
  const float a = std::fabs(x);
  std::uint8_t code = 0;  // how many thresholds lie below; at a tie the even side wins
  code += a > 0.25f;
  code += a >= 0.75f;
  code += a > 1.25f;
  code += a >= 1.75f;
  code += a > 2.5f;
  code += a >= 3.5f;
  code += a > 5.0f;
  return static_cast<std::uint8_t>(code | (to_bits(x) >> 28 & 8));
}

}  // namespace v4i::kernels
