// Plain and stretched rotary frequencies; see rope.h.
#include "lib/forward/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace v4i::forward {

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

}  // namespace v4i::forward
