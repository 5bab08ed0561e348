// The definition of linear_int8: every weight and activation of a block as an integer, one at a
// time; see kernels/linear.h.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/int8_x.h"
#include "kernels/cpu/scalar_weight.h"
#include "kernels/cpu/tables.h"

namespace v4i::kernels {

namespace {

constexpr int kNone = -10000;  // exponent of a block of zeros

// E of columns [k0, k1) of row r.
int exponent_of(const Weight& w, std::int64_t r, std::int64_t k0, std::int64_t k1) {
  int most = kNone;
  for (std::int64_t k = k0; k < k1; ++k) {
    const double v = weight_value(w, r, k);
    if (v == 0) continue;
    most = std::max(most, std::ilogb(v));
    if (w.format == Format::kFp8) most = std::max(most, scale_code(w, r, k) - 127 - 6);
  }
  return most;
}

double unit_of(int exponent) { return exponent == kNone ? 0 : std::ldexp(1.0, exponent - 6); }

// Row r as integers, then the E of each block.
void quantise_row(const Weight& w, std::int64_t r, std::int32_t* q) {
  std::int32_t* exponent = q + w.cols;
  for (std::int64_t k0 = 0; k0 < w.cols; k0 += kInt8Block, ++exponent) {
    const std::int64_t k1 = std::min(k0 + kInt8Block, w.cols);
    *exponent = exponent_of(w, r, k0, k1);
    const double unit = unit_of(*exponent);
    for (std::int64_t k = k0; k < k1; ++k)
      q[k] = unit == 0 ? 0 : static_cast<std::int32_t>(std::llrint(weight_value(w, r, k) / unit));
  }
}

Int8Scale scale_of(const float* x, std::int64_t k0, std::int64_t k1) {
  std::uint32_t most = 0;
  for (std::int64_t k = k0; k < k1; ++k) most = std::max(most, to_bits(x[k]) & 0x7fffffffu);
  return int8_scale(most);
}

double row_times(const std::int32_t* q, const float* x, std::int64_t cols) {
  const std::int32_t* exponent = q + cols;
  double sum = 0;
  for (std::int64_t k0 = 0; k0 < cols; k0 += kInt8Block, ++exponent) {
    const std::int64_t k1 = std::min(k0 + kInt8Block, cols);
    const Int8Scale scale = scale_of(x, k0, k1);
    std::int64_t products = 0;
    for (std::int64_t k = k0; scale.up > 0 && k < k1; ++k)
      products += q[k] * std::llrint(x[k] * scale.up);
    sum += static_cast<double>(products) * unit_of(*exponent) * static_cast<double>(scale.down);
  }
  return sum;
}

}  // namespace

void scalar::linear_int8(const LinearArgs& a) {
  auto* q = reinterpret_cast<std::int32_t*>(a.scratch);
  for (std::int64_t r = a.row_begin; r < a.row_end; ++r) {
    quantise_row(a.w, r, q);
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const float* x = a.x + (a.x_row != nullptr ? a.x_row[t] : t) * a.x_stride;
      const auto y = static_cast<float>(row_times(q, x, a.w.cols));
      a.y[t * a.y_stride + r - a.y_begin] = a.round_bf16 ? round_bf16(y) : y;
    }
  }
}

}  // namespace v4i::kernels
