// Weight bytes and flops of every part; see parts.h.
#include "lib/model/parts.h"

#include <initializer_list>

#include "lib/model/model.h"

namespace v4i::model {

namespace {

void add(Cost& to, const Linear& l) {
  if (!l.present()) return;
  to.bytes += l.data_bytes() + l.scale_bytes();
  to.flops += 2 * static_cast<std::uint64_t>(l.rows * l.cols);
}

void add(Cost& to, const Vector& v) { to.bytes += sizeof(float) * v.size(); }

void add(Cost& to, const Compressor& c) {
  for (const Linear* l : {&c.wkv, &c.wgate}) add(to, *l);
  for (const Vector* v : {&c.ape, &c.norm}) add(to, *v);
}

void add(Cost& to, const Expert& e) {
  for (const Linear* l : {&e.w1, &e.w3, &e.w2}) add(to, *l);
}

template <class Site>
void add_hyper(Cost& to, const Site& h) {
  add(to, h.fn);
  for (const Vector* v : {&h.base, &h.scale}) add(to, *v);
}

void add(PerPart<Cost>& to, const Block& b, std::int64_t active) {
  add_hyper(to[Part::kHyper], b.hc_attn);
  add_hyper(to[Part::kHyper], b.hc_ffn);
  for (const Vector* v : {&b.attn_norm, &b.ffn_norm}) add(to[Part::kNorm], *v);
  const Attention& a = b.attn;
  for (const Linear* l : {&a.wq_a, &a.wq_b, &a.wkv, &a.wo_b}) add(to[Part::kAttention], *l);
  add(to[Part::kAttention], a.wo_a);  // block diagonal: every row sees its group only
  for (const Vector* v : {&a.sink, &a.q_norm, &a.kv_norm}) add(to[Part::kAttention], *v);
  add(to[Part::kCompressor], a.compressor);
  add(to[Part::kCompressor], a.indexer.compressor);
  for (const Linear* l : {&a.indexer.wq_b, &a.indexer.weights_proj}) add(to[Part::kIndexer], *l);
  add(to[Part::kRouter], b.ffn.gate);
  add(to[Part::kRouter], b.ffn.bias);
  add(to[Part::kShared], b.ffn.shared);
  if (b.ffn.experts.empty()) return;
  for (std::int64_t i = 0; i < active; ++i) add(to[Part::kRouted], b.ffn.experts.front());
}

}  // namespace

const char* part_name(Part part) {
  constexpr const char* kNames[kPartCount] = {
      "embedding", "mhc",    "norms",          "attention",     "rows", "compressor",
      "indexer",   "router", "routed_experts", "shared_expert", "head", "other"};
  return kNames[static_cast<std::size_t>(part)];
}

PerPart<Cost> token_costs(const Model& model) {
  const Weights& w = model.weights();
  PerPart<Cost> out;
  for (const Block& b : w.layers) add(out, b, model.config().experts_active);
  add(out[Part::kHead], w.head);
  add_hyper(out[Part::kHead], w.hc_head);
  add(out[Part::kHead], w.norm);
  if (w.embed.rows > 0)
    out[Part::kEmbedding].bytes = w.embed.data_bytes() / static_cast<std::uint64_t>(w.embed.rows);
  return out;
}

Cost expert_cost(const Model& model) {
  Cost out;
  const auto& layers = model.weights().layers;
  if (!layers.empty() && !layers.front().ffn.experts.empty())
    add(out, layers.front().ffn.experts.front());
  return out;
}

}  // namespace v4i::model
