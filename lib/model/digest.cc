// Hashes the Config, the tensor directory and a sample of bytes; see digest.h.
#include "lib/model/digest.h"

#include <fmt/format.h>

#include <string_view>

namespace v4i::model {

namespace {

constexpr std::size_t kWhole = 64u << 10;
constexpr std::size_t kSample = 4u << 10;

void add_text(Sha256& h, std::string_view text) {
  h.update(text.data(), text.size());
  h.update("\n", 1);
}

std::string list_of(const std::vector<int>& values) {
  return shape_text(std::vector<std::int64_t>(values.begin(), values.end()));
}

// Every field that changes a logit; a new field belongs here too.
std::string numbers_of(const Config& c) {
  std::string out = fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {}", c.model_type, c.vocab,
                                c.width, c.layers, c.hash_layers, c.heads, c.head_dim, c.rope_dim,
                                c.q_lora, c.o_groups, c.o_lora, c.window, list_of(c.ratios));
  out += fmt::format(" {} {} {} {} {} {}", c.rope_theta, c.compress_rope_theta,
                     c.rope_scaling.factor, c.rope_scaling.beta_fast, c.rope_scaling.beta_slow,
                     c.rope_scaling.original_positions);
  out += fmt::format(" {} {} {} {} {} {} {}", c.index_heads, c.index_dim, c.index_topk, c.hc_mult,
                     c.hc_iters, c.hc_eps, c.norm_eps);
  out += fmt::format(" {} {} {} {} {} {} {}", c.experts, c.experts_active, c.shared_experts,
                     c.expert_width, c.route_scale, c.swiglu_limit, c.fp8_block);
  out += fmt::format(" {} {} {} {}", c.dspark_block_size, c.dspark_markov_rank,
                     c.dspark_noise_token, list_of(c.dspark_target_layers));
  return out;
}

}  // namespace

std::size_t digest_sample_bytes(const loader::TensorInfo& t) {
  constexpr std::string_view kExperts = ".ffn.experts.";
  const std::size_t at = t.name.find(kExperts);
  if (at != std::string::npos && t.name.compare(at + kExperts.size(), 2, "0.") != 0) return 0;
  const std::size_t all = static_cast<std::size_t>(t.end - t.begin);
  return all <= kWhole ? all : kSample;
}

Digest digest_of(const loader::Checkpoint& checkpoint, const Config& config) {
  Sha256 h;
  add_text(h, "v4infer model 1");
  add_text(h, numbers_of(config));
  for (const loader::TensorInfo& t : checkpoint.tensors()) {
    add_text(h, t.name);
    add_text(h, dtype_name(t.dtype));
    add_text(h, shape_text(t.shape));
    h.update(checkpoint.view(t).data, digest_sample_bytes(t));
  }
  return h.finish();
}

}  // namespace v4i::model
