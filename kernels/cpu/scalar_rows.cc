// The scalar kernels: the definition of the row operations, from those of ops.h and quant.h.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"
#include "kernels/ops.h"
#include "kernels/quant.h"

namespace v4i::kernels {

namespace {

void normalise(float* x, const HeadsArgs& a) {
  if (!a.native) {
    const float scale = rms_scale(x, a.dim, a.eps);
    for (int c = 0; c < a.dim; ++c) x[c] *= scale;
    return;
  }
  float sum[16] = {};
  for (int c = 0; c < a.dim; ++c) sum[c % 16] += round_bf16(x[c] * x[c]);
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) sum[l] += sum[l + half];
  const float mean = round_bf16(sum[0] / static_cast<float>(a.dim));
  const float scale = round_bf16(1.0f / std::sqrt(round_bf16(mean + a.eps)));
  for (int c = 0; c < a.dim; ++c) x[c] = round_bf16(x[c] * scale);
}

void turn_tail(float* x, const HeadsArgs& a, bool inverse) {
  float* tail = x + a.dim - a.rope;
  rope(tail, a.cos_sin, a.rope, inverse);
  if (a.native) round_bf16(tail, a.rope);
}

}  // namespace

void scalar::query_heads(const HeadsArgs& a) {
  for (std::int64_t h = 0; h < a.count; ++h) {
    if (!a.plain) normalise(a.x + h * a.dim, a);
    turn_tail(a.x + h * a.dim, a, false);
  }
}

void scalar::output_heads(const HeadsArgs& a) {
  for (std::int64_t h = 0; h < a.count; ++h) turn_tail(a.x + h * a.dim, a, true);
}

void scalar::index_heads(const HeadsArgs& a) {
  for (std::int64_t h = 0; h < a.count; ++h) {
    float* x = a.x + h * a.dim;
    turn_tail(x, a, false);
    if (!a.native) continue;
    if (!a.plain) {
      hadamard(x, a.dim);
      round_bf16(x, a.dim);
    }
    fp4_sim(x, x, a.dim, 32);
  }
}

void scalar::store_row(const PackArgs& a) {
  kernels::pack_row(a.x, a.dim, a.rope, a.out, a.form);
  ;
}

void scalar::pool(const PoolArgs& a) {
  for (std::int64_t c = a.begin; c < a.end; ++c) {
    float top = -INFINITY;
    for (int i = 0; i < a.count; ++i) top = std::max(top, a.value[i][a.gate_offset + c]);
    double total = 0, sum = 0;
    for (int i = 0; i < a.count; ++i) {
      const double e = std::exp(static_cast<double>(a.value[i][a.gate_offset + c]) - top);
      total += e;
      sum += e * a.value[i][c];
    }
    a.out[c] = static_cast<float>(sum / total);
  }
}

void scalar::quantise(const QuantiseArgs& a) { fp8_sim(a.x, a.y, a.n, a.block); }

void scalar::swiglu(const SwigluArgs& a) {
  kernels::swiglu(a.gate, a.up, a.n, a.limit, a.weight, a.gate);
  if (a.native) round_bf16(a.gate, a.n);
}

void scalar::collapse(const CollapseArgs& a) {
  const StreamsArgs& s = a.s;
  for (std::int64_t c = s.begin; c < s.end; ++c) {
    float sum = a.pre[0] * s.streams[c];
    for (int i = 1; i < s.count; ++i) sum += a.pre[i] * s.streams[i * s.width + c];
    a.x[c] = s.native ? round_bf16(sum) : sum;
  }
}

void scalar::mix_back(const MixArgs& a) {
  const StreamsArgs& s = a.s;
  for (std::int64_t c = s.begin; c < s.end; ++c) {
    float old[kMaxStreams];
    for (int j = 0; j < s.count; ++j) old[j] = s.streams[j * s.width + c];
    for (int k = 0; k < s.count; ++k) {
      float sum = a.comb[k] * old[0];
      for (int j = 1; j < s.count; ++j) sum += a.comb[j * s.count + k] * old[j];
      const float y = a.post[k] * a.out[c] + sum;
      s.streams[k * s.width + c] = s.native ? round_bf16(y) : y;
    }
  }
}

}  // namespace v4i::kernels
