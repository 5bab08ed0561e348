// The small operations between the matrix products; see ops.h.
#include "kernels/ops.h"

#include <algorithm>
#include <cmath>

namespace v4i::kernels {

float sum_squares(const float* x, std::int64_t n) {
  constexpr int kLanes = 16;
  float lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] += x[i + l] * x[i + l];
  for (int l = 0; i < n; ++i, ++l) lane[l] += x[i] * x[i];
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

float rms_scale(const float* x, std::int64_t n, float eps) {
  return 1.0f / std::sqrt(sum_squares(x, n) / static_cast<float>(n) + eps);
}

void rms_norm(const float* x, const float* gain, std::int64_t n, float eps, float* y) {
  const float scale = rms_scale(x, n, eps);
  for (std::int64_t i = 0; i < n; ++i) y[i] = gain[i] * (x[i] * scale);
}

void rope(float* x, const float* cos_sin, std::int64_t dim, bool inverse) {
  const std::int64_t half = dim / 2;
  const float sign = inverse ? -1.0f : 1.0f;
  for (std::int64_t i = 0; i < half; ++i) {
    const float c = cos_sin[i], s = sign * cos_sin[half + i];
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * c - b * s;
    x[2 * i + 1] = a * s + b * c;
  }
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

void swiglu(const float* gate, const float* up, std::int64_t n, float limit, float weight,
            float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    float g = gate[i], u = up[i];
    if (limit > 0) {
      g = std::min(g, limit);
      u = std::clamp(u, -limit, limit);
    }
    out[i] = weight * (g / (1.0f + std::exp(-g)) * u);
  }
}

float sqrt_softplus(float x) { return std::sqrt(x > 20.0f ? x : std::log1p(std::exp(x))); }

namespace {

void normalise_rows(float* m, int n, float eps_sum, float eps_add) {
  for (int j = 0; j < n; ++j) {
    float sum = 0;
    for (int k = 0; k < n; ++k) sum += m[j * n + k];
    for (int k = 0; k < n; ++k) m[j * n + k] = m[j * n + k] / (sum + eps_sum) + eps_add;
  }
}

void normalise_columns(float* m, int n, float eps) {
  for (int k = 0; k < n; ++k) {
    float sum = 0;
    for (int j = 0; j < n; ++j) sum += m[j * n + k];
    for (int j = 0; j < n; ++j) m[j * n + k] /= sum + eps;
  }
}

}  // namespace

void sinkhorn(float* m, int n, int iterations, float eps) {
  for (int j = 0; j < n; ++j) {
    const float top = *std::max_element(m + j * n, m + (j + 1) * n);
    for (int k = 0; k < n; ++k) m[j * n + k] = std::exp(m[j * n + k] - top);
  }
  normalise_rows(m, n, 0.0f, eps);  // a softmax, then + eps
  normalise_columns(m, n, eps);
  for (int i = 1; i < iterations; ++i) {
    normalise_rows(m, n, eps, 0.0f);
    normalise_columns(m, n, eps);
  }
}

}  // namespace v4i::kernels
