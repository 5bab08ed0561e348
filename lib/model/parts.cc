// Weight bytes and flops of every part; see parts.h.
#include "lib/model/parts.h"

#include <initializer_list>

#include "lib/model/model.h"

namespace v4i::model {

namespace {

void add(Cost& to, const Weight& l) {
  if (!l.present()) return;
  to.bytes += l.data_bytes() + l.scale_bytes();
  to.flops += 2 * static_cast<std::uint64_t>(l.rows * l.cols);
}

void add(Cost& to, const Vector& v) { to.bytes += sizeof(float) * v.size(); }

void add(Cost& to, const Compressor& c) {
  for (const Vector* v : {&c.ape, &c.norm}) add(to, *v);
}

void add(Cost& to, const Expert& e) {
  for_each_linear(e, [&](const Weight& w) { add(to, w); });
}

template <class Site>
void add_vectors(Cost& to, const Site& h) {
  for (const Vector* v : {&h.base, &h.scale}) add(to, *v);
}

void add(PerPart<Cost>& to, const Block& b, std::int64_t active) {
  for_each_linear(b, [&](Part part, const Weight& w) { add(to[part], w); });
  add_vectors(to[Part::kHyper], b.hc_attn);
  add_vectors(to[Part::kHyper], b.hc_ffn);
  add(to[Part::kEngram], b.engram.qk);
  for (const Vector* v : {&b.attn_norm, &b.ffn_norm}) add(to[Part::kNorm], *v);
  const Attention& a = b.attn;
  for (const Vector* v : {&a.sink, &a.q_norm, &a.kv_norm}) add(to[Part::kAttention], *v);
  add(to[Part::kCompressor], a.compressor);
  add(to[Part::kCompressor], a.indexer.compressor);
  add(to[Part::kCompressor], a.indexer.k_norm);
  add(to[Part::kRouter], b.ffn.bias);
  add(to[Part::kRouter], b.ffn.bias_media);
  if (b.ffn.experts.empty()) return;
  for (std::int64_t i = 0; i < active; ++i) add(to[Part::kRouted], b.ffn.experts.front());
}

}  // namespace

const char* part_name(Part part) {
  constexpr const char* kNames[kPartCount] = {
      "embedding",     "engram",     "mhc",     "norms",  "attention",
      "rows",          "compressor", "indexer", "router", "routed_experts",
      "shared_expert", "head",       "other"};
  return kNames[static_cast<std::size_t>(part)];
}

PerPart<Cost> token_costs(const Model& model) {
  const Weights& w = model.weights();
  PerPart<Cost> out;
  for (const Block& b : w.layers) add(out, b, model.config().experts_active);
  add(out[Part::kHead], w.head);
  add(out[Part::kHead], w.hc_head.fn);
  add_vectors(out[Part::kHead], w.hc_head);
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
