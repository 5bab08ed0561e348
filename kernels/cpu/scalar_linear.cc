// The scalar kernels: the definition of linear.  Written to be read, with sums in double, so
// that every faster kernel is the less exact side of a comparison.
#include "kernels/cpu/scalar_weight.h"
#include "kernels/cpu/tables.h"

namespace v4i::kernels {

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
