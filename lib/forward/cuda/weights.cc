// Checks and uploads every matrix but experts; see weights.h.
#include "lib/forward/cuda/weights.h"

#include "lib/base/error.h"
#include "lib/forward/rope.h"

namespace v4i::forward::cuda {

namespace {

std::uint64_t vector_bytes(const model::Block& b) {
  const model::Attention& a = b.attn;
  std::uint64_t n = 0;
  for (const model::Vector* v :
       {&b.attn_norm, &b.ffn_norm, &b.hc_attn.base, &b.hc_attn.scale, &b.hc_ffn.base,
        &b.hc_ffn.scale, &a.sink, &a.q_norm, &a.kv_norm, &a.compressor.ape, &a.compressor.norm,
        &a.indexer.compressor.ape, &a.indexer.compressor.norm, &b.ffn.bias})
    n += v->size();
  return (n + b.ffn.tid2eid.size()) * 4;
}

std::uint64_t block_bytes(const model::Block& b) {
  std::uint64_t n = vector_bytes(b);
  model::for_each_linear(b, [&](model::Part, const Weight& w) {
    if (w.present()) n += Upload::matrix_bytes(w);
  });
  return n;
}

}  // namespace

std::uint64_t DeviceWeights::bytes(const model::Model& model) {
  const model::Weights& w = model.weights();
  std::uint64_t n = Upload::matrix_bytes(w.head) + Upload::matrix_bytes(w.hc_head.fn) +
                    (w.norm.size() + w.hc_head.base.size() + w.hc_head.scale.size()) * 4;
  for (const model::Block& b : w.layers) n += block_bytes(b);
  for (const model::Mtp& m : w.mtp)
    n += block_bytes(m.block) + Upload::matrix_bytes(m.e_proj) + Upload::matrix_bytes(m.h_proj) +
         Upload::matrix_bytes(m.head.fn) + (m.enorm.size() * 3) * 4;
  return n;
}

HyperWeights DeviceWeights::hyper(const Weight& fn, const model::Vector& base,
                                  const model::Vector& scale, Upload& upload) {
  V4I_CHECK(!fn.present() || fn.format == WeightFormat::kF32);
  return {upload.matrix(fn, &owners_), upload.vector(base, &owners_),
          upload.vector(scale, &owners_)};
}

CompressorWeights DeviceWeights::compressor(const model::Compressor& c, Upload& upload) {
  return {upload.matrix(c.wkv, &owners_), upload.matrix(c.wgate, &owners_),
          upload.vector(c.ape, &owners_), upload.vector(c.norm, &owners_)};
}

BlockWeights DeviceWeights::block(const model::Block& b, Upload& upload) {
  const model::Attention& a = b.attn;
  const auto matrix = [&](const Weight& w) { return upload.matrix(w, &owners_); };
  const auto vector = [&](const model::Vector& v) { return upload.vector(v, &owners_); };
  BlockWeights d;
  d.attn_norm = vector(b.attn_norm);
  d.ffn_norm = vector(b.ffn_norm);
  d.hc_attn = hyper(b.hc_attn.fn, b.hc_attn.base, b.hc_attn.scale, upload);
  d.hc_ffn = hyper(b.hc_ffn.fn, b.hc_ffn.base, b.hc_ffn.scale, upload);
  d.sink = vector(a.sink);
  d.q_norm = vector(a.q_norm);
  d.kv_norm = vector(a.kv_norm);
  d.wq_a = matrix(a.wq_a);
  d.wq_b = matrix(a.wq_b);
  d.wkv = matrix(a.wkv);
  d.wo_a = matrix(a.wo_a);
  d.wo_b = matrix(a.wo_b);
  d.compressor = compressor(a.compressor, upload);
  d.index_compressor = compressor(a.indexer.compressor, upload);
  d.index_wq_b = matrix(a.indexer.wq_b);
  d.index_weights = matrix(a.indexer.weights_proj);
  d.gate = matrix(b.ffn.gate);
  d.bias = vector(b.ffn.bias);
  d.tid2eid = upload.vector(std::span<const std::int32_t>(b.ffn.tid2eid), &owners_);
  d.shared = {matrix(b.ffn.shared.w1), matrix(b.ffn.shared.w3), matrix(b.ffn.shared.w2)};
  return d;
}

DeviceWeights::DeviceWeights(const model::Model& model, Upload& upload, ThreadPool& pool) {
  const model::Weights& w = model.weights();
  for (std::size_t i = 0; i < w.layers.size(); ++i) {
    model.touch_layer(static_cast<int>(i), pool);
    layers_.push_back(block(w.layers[i], upload));
  }
  model.touch_head(pool);
  head_ = upload.matrix(w.head, &owners_);
  head_norm_ = {hyper(w.hc_head.fn, w.hc_head.base, w.hc_head.scale, upload),
                upload.vector(w.norm, &owners_)};
  for (const bool yarn : {false, true})
    freq_[yarn] = upload.vector(rope_frequencies(model.config(), yarn), &owners_);
  if (w.mtp.empty()) return;
  const model::Mtp& m = w.mtp[0];
  model.touch_mtp(pool);
  draft_.block = block(m.block, upload);
  draft_.e_proj = upload.matrix(m.e_proj, &owners_);
  draft_.h_proj = upload.matrix(m.h_proj, &owners_);
  draft_.enorm = upload.vector(m.enorm, &owners_);
  draft_.hnorm = upload.vector(m.hnorm, &owners_);
  draft_.head = {hyper(m.head.fn, m.head.base, m.head.scale, upload),
                 upload.vector(m.norm, &owners_)};
}

}  // namespace v4i::forward::cuda
