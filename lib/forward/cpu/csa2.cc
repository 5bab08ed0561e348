// V4.1's compressed rows: groups of `ratio` tokens that do not overlap, weighed channel by channel
// by a softmax of their gates, or at ratio 1 each token by itself.  The index key of a row is a
// projection of it, taken before it is rotated and stored.  Spec of V4.1, 3.3.
//
// A token's values and gates are staged in the workspace and kept in the state's ring until its row
// is complete, so a row has the same bits however the prompt was cut.
#include <algorithm>

#include "kernels/ops.h"
#include "lib/forward/cpu/pass.h"

namespace v4i::forward::cpu {

namespace {

constexpr int kMaxRatio = 128;            // checked at open (shapes.cc)
constexpr std::int64_t kRowWork = 16384;  // of a row, as share() counts it

std::int64_t partial_floats(const Pass& p, int layer) {
  return static_cast<std::int64_t>(
      p.layout().layers[static_cast<std::size_t>(layer)].partial_floats());
}

// Values and gates of the tokens, side by side in w.partial.
void make_partial(Pass& p, const LayerOf& layer) {
  const std::int64_t d = p.config.head_dim, stride = partial_floats(p, layer.kv);
  const model::Compressor& c = layer.block.attn.compressor;
  Product products[2];
  for (int i = 0; i < 2; ++i) {
    const Weight& w = i == 0 ? c.wkv : c.wgate;
    products[i] = {&w, product_of(p, w, p.w.x.data(), p.config.width, p.n())};
    products[i].a.y = p.w.partial.data() + i * d;
    products[i].a.y_stride = stride;
    products[i].a.round_bf16 = false;
  }
  multiply_all(p, products);
}

// w.pooled <- the rows that are complete, before their norm.
void pool_rows(Pass& p, const LayerOf& layer) {
  const std::int64_t d = p.config.head_dim, ratio = layer.plan.ratio;
  const auto rows = static_cast<std::int64_t>(p.new_rows.size());
  share(p, rows, rows * ratio * d, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const NewRow& r = p.new_rows[static_cast<std::size_t>(i)];
      const float* value[kMaxRatio];
      for (std::int64_t k = 0; k < ratio; ++k)
        value[k] = partial_row(p, layer.kv, r.token, r.row * ratio + k);
      float* out = p.w.pooled.data() + i * d;
      p.kernels.pool({value, static_cast<int>(ratio), d, 0, d, out});
      p.round(out, d);
    }
  });
}

// Norm, rotation and stored form of row i and of its key.
void store(const Pass& p, const LayerOf& layer, std::size_t i, float* row, float* key) {
  const model::Config& c = p.config;
  const NewRow& r = p.new_rows[i];
  kv::State& state = p.state(r.token);
  float turn[kernels::kMaxRope];
  fill_turn(layer.plan.yarn_rope ? p.freq_b : p.freq_a, r.row * layer.plan.ratio, turn);
  kernels::rms_norm(key, layer.block.attn.indexer.k_norm.data(), c.index_dim, c.norm_eps, key);
  p.round(key, c.index_dim);
  const auto rotate = [&](float* x) {
    kernels::rope(x, turn, c.rope_dim, false);
    p.round(x, c.rope_dim);
  };
  rotate(key + c.index_dim - c.rope_dim);
  store_key(p, key, false, state.new_row(layer.kv, kv::RowKind::kIndex, r.row));
  rotate(row + c.head_dim - c.rope_dim);
  store_row(p, p.layout().main_row, row, state.new_row(layer.kv, kv::RowKind::kMain, r.row));
}

}  // namespace

void compress_csa2(Pass& p, const LayerOf& layer) {
  const model::Config& c = p.config;
  const model::Attention& a = layer.block.attn;
  float* rows = p.w.pooled.data();
  float* keys = rows + p.n() * c.head_dim;
  find_new_rows(p, layer.plan.ratio);
  const auto n = static_cast<std::int64_t>(p.new_rows.size());
  if (layer.plan.gate) {
    make_partial(p, layer);
    if (n == 0) return;
    pool_rows(p, layer);
  } else {  // a row for each token
    linear(p, a.compressor.wkv, p.w.x.data(), c.width, n, rows, c.head_dim, true);
  }
  norm(p, rows, a.compressor.norm, n, rows);
  linear(p, a.indexer.wk, rows, c.head_dim, n, keys, c.index_dim, true);
  share(p, n, (n - 1) * kRowWork, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      store(p, layer, static_cast<std::size_t>(i), rows + i * c.head_dim, keys + i * c.index_dim);
  });
}

}  // namespace v4i::forward::cpu
