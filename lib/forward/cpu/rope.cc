// Rotary positions and the stored form of rows.  Spec 2.1 and 4.3.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

// The channel pair whose wavelength fits `rotations` times into the trained length.
double yarn_pair(const model::Config& c, double rotations) {
  const double length = static_cast<double>(c.rope_scaling.original_positions);
  return static_cast<double>(c.rope_dim) * std::log(length / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(c.compress_rope_theta));
}

// YaRN: slow pairs are stretched by `factor`, fast ones stay, a ramp between.
void stretch(const model::Config& c, std::vector<float>& f) {
  const double low = std::max(std::floor(yarn_pair(c, c.rope_scaling.beta_fast)), 0.0);
  double high = std::min(std::ceil(yarn_pair(c, c.rope_scaling.beta_slow)),
                         static_cast<double>(c.rope_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < f.size(); ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
        1.0f);
    const float keep = 1.0f - ramp;
    f[i] = f[i] / static_cast<float>(c.rope_scaling.factor) * (1.0f - keep) + f[i] * keep;
  }
}

}  // namespace

std::vector<float> rope_frequencies(const model::Config& c, bool yarn) {
  const auto base = static_cast<float>(yarn ? c.compress_rope_theta : c.rope_theta);
  std::vector<float> f(static_cast<std::size_t>(c.rope_dim / 2));
  for (std::size_t i = 0; i < f.size(); ++i)
    f[i] = 1.0f / std::pow(base, static_cast<float>(2 * i) / static_cast<float>(c.rope_dim));
  if (yarn && c.rope_scaling.original_positions > 0) stretch(c, f);
  return f;
}

void fill_turn(const std::vector<float>& freq, std::int64_t position, float* out) {
  const std::size_t half = freq.size();
  for (std::size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * freq[i];
    out[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    out[half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
  }
}

void fill_rope(Pass& p) {
  p.pool.run(p.n(), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t position = p.token(t).position;
      fill_turn(p.freq_a, position, p.w.rope_a.data() + t * p.config.rope_dim);
      fill_turn(p.freq_b, position, p.w.rope_b.data() + t * p.config.rope_dim);
    }
  });
}

const float* rope_row(const Pass& p, const model::LayerPlan& plan, std::int64_t t) {
  const Buffer<float>& table = plan.yarn_rope ? p.w.rope_b : p.w.rope_a;
  return table.data() + t * p.config.rope_dim;
}

void store_row(const Pass& p, const float* row, std::byte* out) {
  const auto dim = static_cast<int>(p.config.head_dim), rope = static_cast<int>(p.config.rope_dim);
  if (p.native)
    p.kernels.store_row({row, dim, rope, reinterpret_cast<std::uint8_t*>(out)});
  else
    std::memcpy(out, row, sizeof(float) * static_cast<std::size_t>(dim));
}

void store_key(const Pass& p, float* key, std::byte* out) {
  const auto dim = static_cast<int>(p.config.index_dim);
  if (!p.native) {
    std::memcpy(out, key, sizeof(float) * static_cast<std::size_t>(dim));
    return;
  }
  kernels::hadamard(key, dim);
  p.round(key, dim);
  kernels::pack_key(key, dim, reinterpret_cast<std::uint8_t*>(out));
}

}  // namespace v4i::forward::cpu
