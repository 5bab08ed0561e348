// Sinkhorn normalisation of spec 2.3, by one warp: a softmax of the rows plus eps, the columns,
// then rows and columns in turn.
#pragma once

#include "kernels/cuda/vector.cuh"

namespace v4i::kernels::cuda {

// All lanes get the sum or maximum over the four lanes of a row.
V4I_DEVICE float row_sum4(float v) {
  v += shuffle_xor(v, 1);
  return v + shuffle_xor(v, 2);
}
V4I_DEVICE float row_max4(float v) {
  v = fmaxf(v, shuffle_xor(v, 1));
  return fmaxf(v, shuffle_xor(v, 2));
}

V4I_DEVICE void normalise_rows(float (&m)[4][4], float eps) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float r = reciprocal(((m[j][0] + m[j][1]) + (m[j][2] + m[j][3])) + eps);
#pragma unroll
    for (int k = 0; k < 4; ++k) m[j][k] *= r;
  }
}
V4I_DEVICE void normalise_columns(float (&m)[4][4], float eps) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float r = reciprocal(((m[0][k] + m[1][k]) + (m[2][k] + m[3][k])) + eps);
#pragma unroll
    for (int j = 0; j < 4; ++j) m[j][k] *= r;
  }
}

// Lane 4 j + k has logit (j, k); so has lane 16 + 4 j + k.  `matrix` is shared memory, [4, 4];
// the result goes to out as well.
V4I_DEVICE void sinkhorn4(float logit, int iterations, float eps, float* matrix, float* out) {
  const float e = expf(logit - row_max4(logit));
  const float softmax = e / row_sum4(e) + eps;
  if (lane() < 16) matrix[lane()] = softmax;
  warp_barrier();
  if (lane() != 0) return;
  float m[4][4];
#pragma unroll
  for (int i = 0; i < 16; ++i) m[i / 4][i % 4] = matrix[i];
  normalise_columns(m, eps);
  for (int i = 1; i < iterations; ++i) {
    normalise_rows(m, eps);
    normalise_columns(m, eps);
  }
#pragma unroll
  for (int j = 0; j < 4; ++j)
    store4<true>(out, 4 * j, 16, make_float4(m[j][0], m[j][1], m[j][2], m[j][3]));
}

// Any n up to 32: `matrix` [n, n] in shared memory holds logits.
V4I_DEVICE void sinkhorn(float* matrix, int n, int iterations, float eps, float* out) {
  const int i = lane();
  warp_barrier();
  if (i < n) {
    float top = matrix[i * n], sum = 0;
    for (int k = 1; k < n; ++k) top = fmaxf(top, matrix[i * n + k]);
    for (int k = 0; k < n; ++k) sum += matrix[i * n + k] = expf(matrix[i * n + k] - top);
    for (int k = 0; k < n; ++k) matrix[i * n + k] = matrix[i * n + k] / sum + eps;
  }
  for (int step = 1; step < 2 * iterations; ++step) {
    const int from = step % 2 == 1 ? i : i * n, by = step % 2 == 1 ? n : 1;  // a column, a row
    warp_barrier();
    if (i >= n) continue;
    float sum = 0;
    for (int k = 0; k < n; ++k) sum += matrix[from + k * by];
    for (int k = 0; k < n; ++k) matrix[from + k * by] /= sum + eps;
  }
  warp_barrier();
  for (int k = i; k < n * n; k += 32) out[k] = matrix[k];
}

}  // namespace v4i::kernels::cuda
