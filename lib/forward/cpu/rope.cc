// Rotary positions and the stored form of rows.  Spec 2.1 and 4.3.
#include <cmath>
#include <cstring>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

void fill_turn(const std::vector<float>& freq, std::int64_t position, float* out) {
  const std::size_t half = freq.size();
  for (std::size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * freq[i];
    out[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    out[half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
  }
}

void fill_rope(Pass& p) {
  constexpr std::int64_t kAngle = 16;  // of a cosine and a sine, as floats
  const std::int64_t floats = p.n() * p.config.rope_dim * kAngle;
  p.pool.run(p.n(), element_work(floats), [&](std::int64_t begin, std::int64_t end, int) {
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

void store_row(const Pass& p, const kv::RowFormat& format, const float* row, std::byte* out) {
  if (format.form == RowForm::kFloat32)
    std::memcpy(out, row, format.bytes());
  else
    p.kernels.store_row(
        {row, format.dim, format.rope, reinterpret_cast<std::uint8_t*>(out), format.form});
}

void store_key(const Pass& p, float* key, bool hadamard, std::byte* out) {
  const auto dim = static_cast<int>(p.config.index_dim);
  if (!p.native) {
    std::memcpy(out, key, sizeof(float) * static_cast<std::size_t>(dim));
    return;
  }
  if (hadamard) {
    kernels::hadamard(key, dim);
    p.round(key, dim);
  }
  kernels::pack_key(key, dim, reinterpret_cast<std::uint8_t*>(out));
}

}  // namespace v4i::forward::cpu
