// Engram: rows of hashed n-gram tables become keys and a value; what the streams have in common
// with the keys says how much of the value each of them gets.  Spec: engram.md 4.1.
#include <algorithm>
#include <cmath>

#include "kernels/ops.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

constexpr float kLeast = 1e-6f;  // of |s|: its square root then is 1e-3

// sum of x * weight * key, in 16 lanes.
float weighted_dot(const float* x, const float* weight, const float* key, std::int64_t n) {
  float lane[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int l = 0; l < 16; ++l) lane[l] += x[i + l] * weight[i + l] * key[i + l];
  for (int l = 0; i < n; ++i, ++l) lane[l] += x[i] * weight[i] * key[i];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}

float gate_of(const float* x, const float* weight, const float* key, std::int64_t n, float eps) {
  const float dot = weighted_dot(x, weight, key, n) * kernels::rms_scale(x, n, eps) *
                    kernels::rms_scale(key, n, eps) *
                    static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)));
  return kernels::sigmoid(std::copysign(std::sqrt(std::max(std::fabs(dot), kLeast)), dot));
}

// Stream s of token t; kv: its keys, then the value.  Returns the gate.
float add_value(const Pass& p, const model::EngramWeights& w, std::int64_t t, std::int64_t s) {
  const std::int64_t n = p.config.hc_mult, d = p.config.width;
  const float* kv = p.w.wide.data() + t * (n + 1) * d;
  float* x = p.w.streams.data() + (t * n + s) * d;
  const float gate = gate_of(x, w.qk.data() + s * d, kv + s * d, d, p.config.norm_eps);
  const float* value = kv + n * d;
  for (std::int64_t i = 0; i < d; ++i) x[i] += gate * value[i];
  p.round(x, d);
  return gate;
}

bool is_text(const Pass& p, std::int64_t t) { return p.token(t).embedding == nullptr; }

void count_gates(Pass& p) {
  const std::int64_t streams = p.config.hc_mult;
  for (std::int64_t t = 0; t < p.n(); ++t) {
    if (!is_text(p, t)) continue;
    for (std::int64_t s = 0; s < streams; ++s)
      p.gates.sum += static_cast<double>(p.w.gates[static_cast<std::size_t>(t * streams + s)]);
    p.gates.count += static_cast<std::uint64_t>(streams);
  }
}

}  // namespace

void engram(Pass& p, const LayerOf& layer) {
  const model::Config& c = p.config;
  const model::EngramWeights& w = layer.block.engram;
  const std::vector<int>& layers = c.engram.layers;
  const auto table = static_cast<std::size_t>(
      std::find(layers.begin(), layers.end(), layer.experts) - layers.begin());
  const std::int64_t n = p.n(), width = p.engram->width(), kv = (c.hc_mult + 1) * c.width;
  p.engram->wait(table, p.cancel);
  p.pool.run(n, element_work(n * width), [&](std::int64_t begin, std::int64_t end, int) {
    p.engram->rows(table, begin, end - begin, p.w.z.data() + begin * width);
  });
  const float* rows = quantised(p, p.w.z.data(), n, width, p.w.zq.data());
  linear(p, w.wkv, rows, width, n, p.w.wide.data(), kv, true);
  p.pool.run(
      n * c.hc_mult, element_work(n * 4 * kv), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t u = begin; u < end; ++u)  // an image's tokens get nothing
          if (is_text(p, u / c.hc_mult))
            p.w.gates[static_cast<std::size_t>(u)] = add_value(p, w, u / c.hc_mult, u % c.hc_mult);
      });
  count_gates(p);
  p.mark(model::Part::kEngram);
}

}  // namespace v4i::forward::cpu
