// Compressed rows and their index keys.  Spec 2.5; as lib/forward/cpu/compressor.cc does it.
#include "kernels/cuda/compressor.h"

#include "lib/forward/cuda/pass.h"

namespace v4i::forward::cuda {

namespace kc = kernels::cuda;

// Values and gates of a token lie side by side in `partial`: of the rows, then of the index keys.
void add_compressor_products(const Pass& p, const LayerOf& layer, ProductList* products) {
  const kv::LayerLayout& l = layout_of(p, layer);
  const auto add = [&](const Matrix& w, std::int64_t slot) {
    kc::Product q = product(w, p.t->x.data(), p.w.partial.data() + slot, false);
    q.y_stride = static_cast<std::int64_t>(l.partial_floats());
    products->add(q);
  };
  const CompressorWeights& main = layer.weights.compressor;
  add(main.wkv, 0);
  add(main.wgate, main.wkv.rows);
  if (!layer.plan.indexer) return;
  const CompressorWeights& index = layer.weights.index_compressor;
  add(index.wkv, l.partial_width);
  add(index.wgate, l.partial_width + index.wkv.rows);
}

void compress(const Pass& p, const LayerOf& layer) {
  const kv::LayerLayout& l = layout_of(p, layer);
  kc::CompressorArgs a;
  const auto add = [&](const CompressorWeights& w, std::int64_t dim, std::int32_t slot,
                       bool index) {
    kc::CompressorPart& part = a.part[a.parts++];
    part.ape = w.ape;
    part.gain = w.norm;
    part.dim = static_cast<std::int32_t>(dim);
    part.slot = slot;
    part.rows = p.data.blocks(layer.kv, index);
  };
  add(layer.weights.compressor, p.config.head_dim, 0, false);
  if (layer.plan.indexer)
    add(layer.weights.index_compressor, p.config.index_dim, l.partial_width, true);
  a.tokens = p.n();
  a.token = p.tokens;
  a.sequence = p.data.sequences();
  a.partial = p.w.partial.data();
  a.floats = static_cast<std::int32_t>(l.partial_floats());
  a.partial_slots = l.partial_slots;
  a.partial_offset = static_cast<std::int64_t>(l.partial_offset);
  a.frequency = p.weights.freq(layer.plan.yarn_rope);
  a.eps = p.config.norm_eps;
  a.rope = static_cast<std::int32_t>(p.config.rope_dim);
  a.ratio = layer.plan.ratio;
  a.overlap = layer.plan.overlap;
  a.native = p.native;
  p.launch(kc::launch_add_ape(a), a);
  p.launch(kc::launch_compress(a), a);
}

}  // namespace v4i::forward::cuda
