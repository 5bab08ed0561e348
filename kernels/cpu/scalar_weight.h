// One weight as a number, for the scalar kernels.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/formats.h"
#include "kernels/linear.h"

namespace v4i::kernels {

// The scale code of row r, column k; fp8 and fp4 have them.
static inline std::uint8_t scale_code(const Weight& w, std::int64_t r, std::int64_t k) {
  const std::int64_t scale_cols = (w.cols + w.block_cols - 1) / w.block_cols;
  return w.scale[r / w.block_rows * scale_cols + k / w.block_cols];
}

// Row r, column k.
static inline double weight_value(const Weight& w, std::int64_t r, std::int64_t k) {
  const auto* bytes = static_cast<const std::uint8_t*>(w.data);
  switch (w.format) {
    case Format::kF32: {
      float v;
      std::memcpy(&v, bytes + 4 * (r * w.cols + k), sizeof v);
      return v;
    }
    case Format::kBF16: {
      std::uint16_t code;
      std::memcpy(&code, bytes + 2 * (r * w.cols + k), sizeof code);
      return decode_bf16(code);
    }
    case Format::kFp8: {
      return decode_e4m3(bytes[r * w.cols + k]) * decode_ue8m0(scale_code(w, r, k));
    }
    case Format::kFp4: {
      const unsigned pair = bytes[r * (w.cols / 2) + k / 2];
      return decode_e2m1(pair >> (k % 2 * 4) & 15u) * decode_ue8m0(scale_code(w, r, k));
    }
  }
  return 0;
}

}  // namespace v4i::kernels
