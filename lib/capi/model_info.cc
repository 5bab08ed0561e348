// Model info struct and weight traffic; see model_info.h.
#include "lib/capi/model_info.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "lib/capi/boundary.h"

namespace v4i::capi {
namespace {

template <std::size_t N>
void copy_text(std::string_view text, char (&out)[N]) {
  std::memcpy(out, text.data(), std::min(text.size(), N - 1));
}

std::uint64_t bytes_of(const model::Linear& l) { return l.data_bytes() + l.scale_bytes(); }

std::uint64_t bytes_of(const model::Compressor& c) {
  return 4 * (c.ape.size() + c.norm.size()) + bytes_of(c.wkv) + bytes_of(c.wgate);
}

std::uint64_t bytes_of(const model::Expert& e) {
  return e.w1.present() ? bytes_of(e.w1) + bytes_of(e.w2) + bytes_of(e.w3) : 0;
}

std::uint64_t bytes_of(const model::Attention& a) {
  std::uint64_t n = 4 * (a.sink.size() + a.q_norm.size() + a.kv_norm.size());
  for (const model::Linear* l :
       {&a.wq_a, &a.wq_b, &a.wkv, &a.wo_a, &a.wo_b, &a.indexer.wq_b, &a.indexer.weights_proj})
    if (l->present()) n += bytes_of(*l);
  if (a.compressor.wkv.present()) n += bytes_of(a.compressor);
  if (a.indexer.wq_b.present()) n += bytes_of(a.indexer.compressor);
  return n;
}

std::uint64_t bytes_of(const model::Hyper& h) {
  return bytes_of(h.fn) + 4 * (h.base.size() + h.scale.size());
}

std::uint64_t per_token(const model::Block& b, std::int64_t active) {
  std::uint64_t n = 4 * (b.attn_norm.size() + b.ffn_norm.size()) + bytes_of(b.hc_attn) +
                    bytes_of(b.hc_ffn) + bytes_of(b.attn);
  n += bytes_of(b.ffn.gate) + 4 * b.ffn.bias.size() + bytes_of(b.ffn.shared);
  if (!b.ffn.experts.empty())
    n += static_cast<std::uint64_t>(active) * bytes_of(b.ffn.experts.front());
  return n;
}

}  // namespace

v4i_model_info model_info(const model::Model& m) {
  const model::Config& c = m.config();
  auto info = zeroed<v4i_model_info>();
  info.capabilities = V4I_CAP_TOOLS | V4I_CAP_THINKING;
  if (m.plan().draft_stages > 0) info.capabilities |= V4I_CAP_DRAFT;
  copy_text(c.model_type, info.family);
  copy_text(to_hex(m.digest()), info.digest);
  info.parameter_count = m.parameters();
  info.file_bytes = m.checkpoint().file_bytes();
  info.layer_count = static_cast<std::uint32_t>(c.layers);
  info.vocab_size = static_cast<std::uint32_t>(c.vocab);
  info.embed_dim = static_cast<std::uint32_t>(c.width);
  info.context_max = static_cast<std::uint32_t>(c.max_positions);
  info.expert_count = static_cast<std::uint32_t>(c.experts);
  info.expert_active = static_cast<std::uint32_t>(c.experts_active);
  return info;
}

std::uint64_t weight_bytes_per_token(const model::Model& m) {
  const model::Weights& w = m.weights();
  std::uint64_t n = 4 * w.norm.size() + bytes_of(w.head) + bytes_of(w.hc_head.fn) +
                    4 * (w.hc_head.base.size() + w.hc_head.scale.size());
  if (w.embed.rows > 0) n += bytes_of(w.embed) / static_cast<std::uint64_t>(w.embed.rows);
  for (const model::Block& b : w.layers) n += per_token(b, m.config().experts_active);
  return n;
}

}  // namespace v4i::capi
