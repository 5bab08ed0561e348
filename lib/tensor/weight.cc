// Sizes of a weight's two tensors; see weight.h.
#include "lib/tensor/weight.h"

namespace v4i {

std::size_t Weight::data_bytes() const {
  const auto n = static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols);
  switch (format) {
    case WeightFormat::kF32:
      return 4 * n;
    case WeightFormat::kBF16:
      return 2 * n;
    case WeightFormat::kFp8:
      return n;
    case WeightFormat::kFp4:
      return n / 2;
  }
  return 0;
}

std::size_t Weight::scale_bytes() const {
  if (scale == nullptr) return 0;
  return static_cast<std::size_t>((rows + block_rows - 1) / block_rows) *
         static_cast<std::size_t>((cols + block_cols - 1) / block_cols);
}

}  // namespace v4i
