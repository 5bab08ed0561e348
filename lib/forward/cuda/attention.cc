// Attention over a sliding window and compressed rows.  Spec 2.4 and 2.7; as
// lib/forward/cpu/attention.cc does it.
#include "kernels/cuda/attention.h"

#include <cmath>

#include "kernels/cuda/norm.h"
#include "kernels/cuda/rows.h"
#include "lib/forward/cuda/pass.h"

namespace v4i::forward::cuda {

namespace kc = kernels::cuda;

namespace {

std::int32_t window_row_bytes(const Pass& p) {
  return static_cast<std::int32_t>(p.layout->window_row.bytes());
}

// x -> staged KV rows, and the inputs of the compressors.
void make_rows(const Pass& p, const LayerOf& layer, bool with_queries) {
  const float* xq = quantised(p, p.t->x.data(), p.t->xq.data());
  ProductList products;
  products.add(product(layer.weights.wkv, xq, p.w.kv.data()));
  if (with_queries) products.add(product(layer.weights.wq_a, xq, p.w.qr.data()));
  if (layer.plan.ratio > 0) add_compressor_products(p, layer, &products);
  multiply(p, products.all());
  kc::MakeRowsArgs a;
  a.kv = p.w.kv.data();
  a.gain = layer.weights.kv_norm;
  a.cos_sin = rope_rows(p, layer.plan);
  a.rows = p.w.rows.data();
  a.n = p.n();
  a.dim = static_cast<std::int32_t>(p.config.head_dim);
  a.rope = static_cast<std::int32_t>(p.config.rope_dim);
  a.row_bytes = window_row_bytes(p);
  a.eps = p.config.norm_eps;
  a.native = p.native;
  p.launch(kc::launch_make_rows(a), a);
}

// The staged rows of the run to the rings of their sequences.
void keep_rows(const Pass& p, const LayerOf& layer) {
  const kv::LayerLayout& l = layout_of(p, layer);
  kc::KeepRowsArgs a;
  a.tokens = p.tokens;
  a.sequences = p.data.sequences();
  a.rows = p.w.rows.data();
  a.n = p.n();
  a.row_bytes = window_row_bytes(p);
  a.window_offset = static_cast<std::int64_t>(l.window_offset);
  a.window_slots = p.layout->window_slots;
  if (l.partial_slots > 0) {
    a.partial = p.w.partial.data();
    a.partial_offset = static_cast<std::int64_t>(l.partial_offset);
    a.partial_floats = static_cast<std::int32_t>(l.partial_floats());
    a.partial_slots = l.partial_slots;
  }
  p.launch(kc::launch_keep_rows(a), a);
}

// x -> qr (low-rank query, also the indexer's), queries [H, d].
void make_queries(const Pass& p, const LayerOf& layer, bool have_qr) {
  const model::Config& c = p.config;
  const BlockWeights& b = layer.weights;
  if (!have_qr) {
    const float* x = quantised(p, p.t->x.data(), p.t->xq.data());
    const kc::Product low = product(b.wq_a, x, p.w.qr.data());
    multiply(p, {&low, 1});
  }
  norm(p, p.w.qr.data(), c.q_lora, b.q_norm, p.w.qr.data(), p.w.qrq.data());
  const float* qr = quantised(p, p.w.qr.data(), p.w.qrq.data());
  ProductList products;
  products.add(product(b.wq_b, qr, p.w.q.data()));
  if (layer.plan.indexer && p.data.rows_bound(layer.plan.ratio) > c.index_topk) {
    products.add(product(b.index_wq_b, qr, p.w.iq.data()));
    products.add(product(b.index_weights, p.t->x.data(), p.w.iw.data()));
  }
  multiply(p, products.all());
  kc::QueryHeadsArgs a;
  a.x = p.w.q.data();
  a.cos_sin = rope_rows(p, layer.plan);
  a.n = p.n();
  a.heads = static_cast<std::int32_t>(c.heads);
  a.dim = static_cast<std::int32_t>(c.head_dim);
  a.rope = static_cast<std::int32_t>(c.rope_dim);
  a.eps = c.norm_eps;
  a.native = p.native;
  p.launch(kc::launch_query_heads(a), a);
}

void attend(const Pass& p, const LayerOf& layer, bool selected) {
  const model::Config& c = p.config;
  const std::int64_t rows = p.data.rows_bound(layer.plan.ratio);
  kc::SparseAttentionArgs a;
  a.tokens = p.tokens;
  a.sequences = p.data.sequences();
  a.rows = p.w.rows.data();
  if (layer.plan.ratio > 0) a.main = p.data.blocks(layer.kv, false);
  if (selected) a.selected = p.w.selected.data();
  a.q = p.w.q.data();
  a.sink = layer.weights.sink;
  a.cos_sin = rope_rows(p, layer.plan);
  a.out = p.w.q.data();
  a.partial = p.w.attention.data();
  a.window_offset = static_cast<std::int64_t>(layout_of(p, layer).window_offset);
  a.n = p.n();
  a.heads = static_cast<std::int32_t>(c.heads);
  a.dim = static_cast<std::int32_t>(c.head_dim);
  a.rope = static_cast<std::int32_t>(c.rope_dim);
  a.row_bytes = window_row_bytes(p);
  a.window = static_cast<std::int32_t>(c.window);
  a.window_slots = p.layout->window_slots;
  a.ratio = layer.plan.ratio;
  a.topk = static_cast<std::int32_t>(c.index_topk);
  a.max_rows = static_cast<std::int32_t>(c.window + (selected ? c.index_topk : rows));
  a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  a.native = p.native;
  p.launch(kc::launch_attention(a), a);
  p.launch(kc::launch_attention_merge(a), a);
}

// Consecutive heads form a group; each group has its own rows of wo_a.
void project_out(const Pass& p, const BlockWeights& b) {
  const model::Config& c = p.config;
  kc::Product a = product(b.wo_a, p.w.q.data(), p.w.z.data());
  a.x_stride = c.heads * c.head_dim;
  a.group_rows = static_cast<std::int32_t>(c.o_lora);
  a.group_stride = c.heads * c.head_dim / c.o_groups;
  multiply(p, {&a, 1});
  if (p.native) {
    kc::QuantiseRowsArgs q;
    q.x = p.w.z.data();
    q.y = p.w.zq.data();
    q.n = p.n();
    q.cols = b.wo_a.rows;
    q.block = p.fp8_block();
    p.launch(kc::launch_quantise(q), q);
  }
  const kc::Product out =
      product(b.wo_b, quantised(p, p.w.z.data(), p.w.zq.data()), p.w.out.data());
  multiply(p, {&out, 1});
}

}  // namespace

void attention(Pass& p, const LayerOf& layer, const Batch& out) {
  const bool all = &out == p.batch;
  make_rows(p, layer, all);
  p.mark(model::Part::kAttention);
  if (layer.plan.ratio > 0) compress(p, layer);
  keep_rows(p, layer);
  p.mark(model::Part::kCompressor);
  if (!all) keep_outputs(p, out);
  if (p.n() == 0) return;
  make_queries(p, layer, all);
  p.mark(model::Part::kAttention);
  const bool selected = layer.plan.indexer && select_rows(p, layer);
  p.mark(model::Part::kIndexer);
  attend(p, layer, selected);
  p.mark(model::Part::kRows);
  project_out(p, layer.weights);
  p.mark(model::Part::kAttention);
  p.result = {};
  p.result.out = p.w.out.data();
  p.result.post = p.t->post.data();
  p.result.comb = p.t->comb.data();
}

}  // namespace v4i::forward::cuda
