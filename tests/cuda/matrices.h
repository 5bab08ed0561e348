// Random matrices as they lie in device memory, for the tests of products.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/cuda/types.h"
#include "tests/cuda/emulate/run.h"
#include "tests/kernels/weights.h"

namespace v4i::test {

// The device's form of a weight: rows padded with zeros, scales as they are.
struct DeviceMatrix {
  emulate::Buffer<std::uint8_t> data, scale;
  kernels::cuda::Matrix m;

  explicit DeviceMatrix(const RandomWeight& r) : scale(r.scale) {
    const Weight& w = r.w;
    m = kernels::cuda::matrix_shape(w);
    const std::size_t row = r.data.size() / static_cast<std::size_t>(w.rows);
    data = emulate::Buffer<std::uint8_t>(static_cast<std::size_t>(w.rows * m.row_bytes), 0);
    for (std::int64_t i = 0; i < w.rows; ++i)
      std::memcpy(data.data() + i * m.row_bytes, r.data.data() + std::size_t(i) * row, row);
    m.data = data.data();
    m.scale = scale.size() == 0 ? nullptr : scale.data();
  }
};

// y[t, r] by the definition, not rounded; rows of x and y `x_stride` and w.rows apart.
inline std::vector<float> defined_product(const Weight& w, const float* x, std::int64_t x_stride,
                                          std::int64_t tokens) {
  std::vector<float> y(static_cast<std::size_t>(tokens * w.rows));
  kernels::LinearArgs a{};
  a.w = w;
  a.row_end = w.rows;
  a.x = x;
  a.x_stride = x_stride;
  a.y = y.data();
  a.y_stride = w.rows;
  a.tokens = tokens;
  kernels::scalar::linear(a);
  return y;
}

// What float32 sums may be off from the definition: at each addition half a unit in the last place
// of a partial sum (a whole one on tensor cores, which cut off), and no partial sum is larger than
// the sum of the magnitudes.  An element goes through one addition for each 16 columns of its
// segment and one for each segment.
inline std::vector<float> product_errors(const RandomWeight& r, const std::vector<float>& x,
                                         std::int64_t x_stride, std::int64_t tokens) {
  std::vector<float> magnitude = x;
  for (float& v : magnitude) v = std::fabs(v);
  std::vector<float> e = defined_product(magnitudes(r).w, magnitude.data(), x_stride, tokens);
  const auto additions =
      static_cast<float>(std::min<std::int64_t>(r.w.cols, 512) / 16 + 16 + (r.w.cols + 511) / 512);
  for (float& v : e) v *= additions * 0x1p-24f;
  return e;
}

}  // namespace v4i::test
