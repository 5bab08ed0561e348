// How a block of activations becomes int8; shared by the kernels so that all round alike.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/formats.h"

namespace v4i::kernels {

struct Int8Scale {
  float up, down;  // q = rint(x * up), x is about q * down
};

// From the bits of max |x| of a block.  Below 2^-100 all is zero: 127 / m stays finite, also when
// the host flushes subnormals.
static inline Int8Scale int8_scale(std::uint32_t max_bits) {
  if (max_bits >= 0x7f800000u) return {0.0f, from_bits(0x7fc00000u)};
  const float m = from_bits(max_bits);
  if (m < 0x1p-100f) return {0.0f, 0.0f};
  return {127.0f / m, m / 127.0f};
}

}  // namespace v4i::kernels
