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

// Every field of V4.1's that changes a logit.
std::string v41_numbers_of(const Config& c) {
  const EngramConfig& e = c.engram;
  const VisionConfig& v = c.vision;
  std::string out =
      fmt::format(" v41 {} {} {} {} {} {} {} {}", list_of(c.kv_sources), list_of(c.index_sources),
                  c.candidate_source, c.candidate_blocks, c.candidate_block_rows, c.gate_temp,
                  c.draft_experts, c.draft_experts_active);
  out += fmt::format(" {} {} {} {} {} {} {} {}", list_of(e.layers), shape_text(e.rows), e.max_ngram,
                     e.heads, e.head_dim, e.bucket_rows, e.classes, e.pad_token);
  out += fmt::format(" {} {} {} {} {} {} {} {} {} {} {}", v.layers, v.width, v.heads, v.mlp_width,
                     v.patch, v.downsample, v.max_tokens, v.min_pixels, v.rope_theta,
                     v.max_wh_ratio, v.image_token);
  return out;
}

// Every field that changes a logit; a new field belongs here too, but V4's text stays as it
// is: saved sessions name it.
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
  if (c.is_v41()) out += v41_numbers_of(c);
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
