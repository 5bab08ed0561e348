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

// unit of columns [k0, k1) of row r; 0 when all are zero.
double unit_of(const Weight& w, std::int64_t r, std::int64_t k0, std::int64_t k1) {
  constexpr int kNone = -10000;
  int most = kNone;
  for (std::int64_t k = k0; k < k1; ++k) {
    const double v = weight_value(w, r, k);
    if (v == 0) continue;
    most = std::max(most, std::ilogb(v));
    if (w.format == Format::kFp8) most = std::max(most, scale_code(w, r, k) - 127 - 6);
  }
  return most == kNone ? 0 : std::ldexp(1.0, most - 6);
}

Int8Scale scale_of(const float* x, std::int64_t k0, std::int64_t k1) {
  std::uint32_t most = 0;
  for (std::int64_t k = k0; k < k1; ++k) most = std::max(most, to_bits(x[k]) & 0x7fffffffu);
  return int8_scale(most);
}

double block_product(const Weight& w, std::int64_t r, const float* x, std::int64_t k0,
                     std::int64_t k1) {
  const double unit = unit_of(w, r, k0, k1);
  const Int8Scale scale = scale_of(x, k0, k1);
  std::int64_t sum = 0;
  for (std::int64_t k = k0; unit > 0 && scale.up > 0 && k < k1; ++k)
    sum += std::llrint(weight_value(w, r, k) / unit) * std::llrint(x[k] * scale.up);
  return static_cast<double>(sum) * unit * static_cast<double>(scale.down);
}

}  // namespace

void scalar::linear_int8(const LinearArgs& a) {
  for (std::int64_t r = a.row_begin; r < a.row_end; ++r) {
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const float* x = a.x + (a.x_row != nullptr ? a.x_row[t] : t) * a.x_stride;
      double sum = 0;
      for (std::int64_t k = 0; k < a.w.cols; k += kInt8Block)
        sum += block_product(a.w, r, x, k, std::min(k + kInt8Block, a.w.cols));
      const float y = static_cast<float>(sum);
      a.y[t * a.y_stride + r - a.y_begin] = a.round_bf16 ? round_bf16(y) : y;
    }
  }
}

}  // namespace v4i::kernels
