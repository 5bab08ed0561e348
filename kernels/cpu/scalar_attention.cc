// The scalar kernels: the definition of attention.  Written to be read, with sums in double, so
// that every faster kernel is the less exact side of a comparison.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"
#include "kernels/quant.h"

namespace v4i::kernels {

namespace {

void read_row(const AttentionArgs& a, std::int64_t i, float* out) {
  const RowShape s = a.shape_of(i);
  unpack_row(static_cast<const std::uint8_t*>(a.row[i]), s.dim, s.rope, out, s.form);
}

void attention_head(const AttentionArgs& a, std::int64_t head) {
  const int dim = a.shape.dim;
  const float* q = a.q + head * dim;
  float* out = a.out + head * dim;
  float* key = a.scratch;
  float* logit = a.scratch + dim;
  float top = -INFINITY;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    read_row(a, i, key);
    double dot = 0;
    for (int c = 0; c < dim; ++c) dot += static_cast<double>(q[c]) * key[c];
    logit[i] = static_cast<float>(dot) * a.scale;
    top = std::max(top, logit[i]);
  }
  double total = std::exp(static_cast<double>(a.sink[head]) - top);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    const double p = std::exp(static_cast<double>(logit[i]) - top);
    total += p;
    logit[i] = a.round_bf16 ? round_bf16(static_cast<float>(p)) : static_cast<float>(p);
  }
  std::fill(out, out + dim, 0.0f);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    read_row(a, i, key);
    for (int c = 0; c < dim; ++c) out[c] += logit[i] * key[c];
  }
  for (int c = 0; c < dim; ++c) {
    const float o = out[c] / static_cast<float>(total);
    out[c] = a.round_bf16 ? round_bf16(o) : o;
  }
}

// Query i; false: a logit is no finite number.
bool dense_query(const DenseAttentionArgs& a, std::int64_t i) {
  const float* q = a.q + i * a.q_stride;
  float* sum = a.sum + i * a.dim;
  float logit[kDenseTile], top = a.top[i];
  bool finite = true;
  for (int k = 0; k < a.keys; ++k) {
    double dot = 0;
    for (int c = 0; c < a.dim; ++c) dot += static_cast<double>(q[c]) * a.k[c * kDenseTile + k];
    logit[k] = static_cast<float>(dot) * a.scale;
    finite = finite && std::isfinite(logit[k]);
    top = std::max(top, logit[k]);
  }
  const double keep = std::exp(static_cast<double>(a.top[i]) - top);
  double mass = keep * a.mass[i];
  for (int k = 0; k < a.keys; ++k) {
    const double p = std::exp(static_cast<double>(logit[k]) - top);
    mass += p;
    logit[k] = a.round_bf16 ? round_bf16(static_cast<float>(p)) : static_cast<float>(p);
  }
  for (int c = 0; c < a.dim; ++c) {
    double s = keep * sum[c];
    for (int k = 0; k < a.keys; ++k) s += static_cast<double>(logit[k]) * a.v[k * a.dim + c];
    sum[c] = static_cast<float>(s);
  }
  a.mass[i] = static_cast<float>(mass);
  a.top[i] = top;
  return finite;
}

}  // namespace

bool scalar::dense_attention(const DenseAttentionArgs& a) {
  bool finite = true;
  for (std::int64_t i = 0; i < a.queries; ++i) finite = dense_query(a, i) && finite;
  return finite;
}

void scalar::attention(const AttentionArgs& a) {
  for (std::int64_t h = a.head_begin; h < a.head_end; ++h) attention_head(a, h);
}

}  // namespace v4i::kernels
