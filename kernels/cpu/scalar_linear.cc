// The scalar kernels: the definition of linear.  Written to be read, with sums in double, so
// that every faster kernel is the less exact side of a comparison.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {

namespace {

double weight_value(const Weight& w, std::int64_t r, std::int64_t k) {
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
      const std::int64_t scale_cols = (w.cols + w.block_cols - 1) / w.block_cols;
      const std::uint8_t scale = w.scale[r / w.block_rows * scale_cols + k / w.block_cols];
      return decode_e4m3(bytes[r * w.cols + k]) * decode_ue8m0(scale);
    }
    case Format::kFp4: {
      const unsigned pair = bytes[r * (w.cols / 2) + k / 2];
      const std::int64_t scale_cols = (w.cols + w.block_cols - 1) / w.block_cols;
      const std::uint8_t scale = w.scale[r * scale_cols + k / w.block_cols];
      return decode_e2m1(pair >> (k % 2 * 4) & 15u) * decode_ue8m0(scale);
    }
  }
  return 0;
}

}  // namespace

void scalar::linear(const LinearArgs& a) {
  for (std::int64_t r = a.row_begin; r < a.row_end; ++r) {
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const float* x = a.x + (a.x_row != nullptr ? a.x_row[t] : t) * a.x_stride;
      double sum = 0;
      for (std::int64_t k = 0; k < a.w.cols; ++k) sum += weight_value(a.w, r, k) * x[k];
      const float y = static_cast<float>(sum);
      a.y[t * a.y_stride + r - a.y_begin] = a.round_bf16 ? round_bf16(y) : y;
    }
  }
}

}  // namespace v4i::kernels
