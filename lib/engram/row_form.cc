// Codes to numbers with integers only; see row_form.h.
#include "lib/engram/row_form.h"

#include <array>
#include <bit>
#include <cstring>

namespace v4i::engram {

namespace {

constexpr std::uint32_t kSign = 0x80000000, kInfinity = 0x7f800000;
constexpr int kFraction = 23, kBias = 127;
// Of a scale byte s, 2^(s - 127): with these every value of e4m3 stays a normal float32, since the
// smallest is 2^-9 and the largest 1.75 * 2^8.
constexpr int kLowest = 10, kHighest = 246;

// An e4m3 code, not NaN, as the bits of a float32.
constexpr std::uint32_t decode(std::uint32_t code) {
  const std::uint32_t sign = code >> 7 << 31, exponent = code >> 3 & 15, fraction = code & 7;
  if (exponent != 0) return sign | (exponent + kBias - 7) << kFraction | fraction << 20;
  if (fraction == 0) return sign;
  const int top = 31 - std::countl_zero(fraction);  // fraction * 2^-9
  return sign | static_cast<std::uint32_t>(top - 9 + kBias) << kFraction |
         (fraction << (kFraction - top) & 0x7fffff);
}

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> out{};
  for (std::uint32_t c = 0; c < 256; ++c) out[c] = decode(c);
  return out;
}
constexpr std::array<std::uint32_t, 256> kValues = make_table();

// A value times 2^(scale - 127), for any scale: infinity above float32's range, exact below the
// normal ones, as a value has four bits.
std::uint32_t scaled(std::uint32_t value, int scale) {
  const std::uint32_t sign = value & kSign, magnitude = value & ~kSign;
  if (magnitude == 0) return value;
  const int exponent = static_cast<int>(magnitude >> kFraction) + scale - kBias;
  if (exponent >= 255) return sign | kInfinity;
  const std::uint32_t fraction = magnitude & 0x7fffff;
  if (exponent > 0) return sign | static_cast<std::uint32_t>(exponent) << kFraction | fraction;
  return sign | (fraction | 0x800000) >> (1 - exponent);
}

std::uint8_t byte_at(const std::byte* p, std::size_t i) {
  return std::to_integer<std::uint8_t>(p[i]);
}

}  // namespace

RowForm::Defect RowForm::defect(const std::byte* codes, const std::byte* scales) const {
  for (std::size_t g = 0; g < codes_ / kScaleWidth; ++g) {
    const std::uint8_t scale = byte_at(scales, g);
    if (scale == 0xff) return {true, Part::kScales, g, scale};
    const std::byte* group = codes + g * kScaleWidth;
    unsigned bad = 0;
    for (std::size_t i = 0; i < kScaleWidth; ++i) bad |= (byte_at(group, i) & 0x7f) == 0x7f;
    for (std::size_t i = 0; bad != 0 && i < kScaleWidth; ++i)
      if ((byte_at(group, i) & 0x7f) == 0x7f)
        return {true, Part::kCodes, g * kScaleWidth + i, byte_at(group, i)};
    for (std::size_t i = 0; scale > kHighest && i < kScaleWidth; ++i)
      if ((scaled(kValues[byte_at(group, i)], scale) & kInfinity) == kInfinity)
        return {true, Part::kScales, g, scale};
  }
  return {};
}

void RowForm::dequantise(const std::byte* codes, const std::byte* scales, float* out) const {
  for (std::size_t g = 0; g < codes_ / kScaleWidth; ++g) {
    const int scale = byte_at(scales, g);
    const bool plain = scale >= kLowest && scale <= kHighest;
    const auto shift = static_cast<std::uint32_t>(scale - kBias) << kFraction;
    for (std::size_t i = g * kScaleWidth; i < (g + 1) * kScaleWidth; ++i) {
      std::uint32_t v = kValues[byte_at(codes, i)];
      if (!plain)
        v = scaled(v, scale);
      else
        v += (v & ~kSign) != 0 ? shift : 0;
      std::memcpy(out + i, &v, sizeof v);
    }
  }
}

}  // namespace v4i::engram
