// The small operations between the matrix products, one row at a time.
#pragma once

#include <cstdint>

namespace v4i::kernels {

// Sum of squares in 16 lanes, folded in a fixed order.
float sum_squares(const float* x, std::int64_t n);
// 1 / sqrt(mean(x^2) + eps), correctly rounded steps as the oracle has them.
float rms_scale(const float* x, std::int64_t n, float eps);
// y = gain * (x * rms_scale(x)); y == x is allowed.  Spec 2.1.
void rms_norm(const float* x, const float* gain, std::int64_t n, float eps, float* y);

// Rotates the pairs (2i, 2i+1) of x[0, dim): cos_sin holds dim/2 cosines then dim/2
// sines.  inverse turns the other way.  Spec 2.1.
void rope(float* x, const float* cos_sin, std::int64_t dim, bool inverse);

// out[i] = silu(gate[i]) * up[i] * weight; gate <= limit, |up| <= limit when limit > 0.
// Spec 2.9: the clamp comes before the product, on gate from above only.
void swiglu(const float* gate, const float* up, std::int64_t n, float limit, float weight,
            float* out);

// sqrt(softplus(x)), without underflow for very negative x.  Spec 2.8.
float sqrt_softplus(float x);
float sigmoid(float x);

// Sinkhorn normalisation of spec 2.3: m [n, n] holds logits and becomes the mixing
// matrix; row = source stream, column = destination.
void sinkhorn(float* m, int n, int iterations, float eps);

}  // namespace v4i::kernels
