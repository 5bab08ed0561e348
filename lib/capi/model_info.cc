// Model info struct and weight bytes; see model_info.h.
#include "lib/capi/model_info.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "lib/capi/boundary.h"
#include "lib/model/parts.h"

namespace v4i::capi {
namespace {

template <std::size_t N>
void copy_text(std::string_view text, char (&out)[N]) {
  std::memcpy(out, text.data(), std::min(text.size(), N - 1));
}

}  // namespace

v4i_model_info model_info(const model::Model& m) {
  const model::Config& c = m.config();
  auto info = zeroed<v4i_model_info>();
  info.capabilities = V4I_CAP_TOOLS | V4I_CAP_THINKING;
  if (m.has_drafts()) info.capabilities |= V4I_CAP_DRAFT;
  if (m.weights().vision.present()) info.capabilities |= V4I_CAP_IMAGE;
  if (!c.engram.layers.empty()) info.capabilities |= V4I_CAP_ENGRAM;
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
  std::uint64_t n = 0;
  for (const model::Cost& c : model::token_costs(m).values) n += c.bytes;
  return n;
}

}  // namespace v4i::capi
