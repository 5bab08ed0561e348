// Config: the numbers of config.json, under one set of names.
//
// Accepts the Hugging Face names (hidden_size, num_hidden_layers, ...) and those
// of the reference's inference/config.json (dim, n_layers, ...).  Every number is
// range-checked here, so that nothing behind this header meets a zero or a
// negative size.  Source: spec 1.2 (docs/model.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace v4i::model {

struct RopeScaling {  // YaRN; factor 1 means "none"
  double factor = 1.0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  std::int64_t original_positions = 0;  // 0: no scaling at all
};

enum class ExpertDType { kFromTensors, kFp4, kFp8 };

struct Config {
  std::string model_type;          // "deepseek_v4"
  std::int64_t vocab = 0;          // vocab_size
  std::int64_t width = 0;          // hidden_size, D
  std::int64_t layers = 0;         // num_hidden_layers, the backbone only
  std::int64_t hash_layers = 0;    // num_hash_layers: these route by token id
  std::int64_t heads = 0;          // num_attention_heads, H
  std::int64_t head_dim = 0;       // d, of q, k and v
  std::int64_t rope_dim = 0;       // qk_rope_head_dim, the last channels of a head; even
  std::int64_t q_lora = 0;         // q_lora_rank
  std::int64_t o_groups = 0;       // G; heads % G == 0
  std::int64_t o_lora = 0;         // o_lora_rank
  std::int64_t window = 0;         // sliding_window, the current token included
  std::vector<int> ratios;         // compress_ratios: 0, 4 or 128; at least `layers` entries
  double rope_theta = 0;           // ratio-0 layers
  double compress_rope_theta = 0;  // ratio-4 and ratio-128 layers, with rope_scaling
  RopeScaling rope_scaling;
  std::int64_t max_positions = 0;  // max_position_embeddings
  std::int64_t index_heads = 0;    // index_n_heads
  std::int64_t index_dim = 0;      // index_head_dim
  std::int64_t index_topk = 0;
  std::int64_t hc_mult = 0;   // residual streams, n
  std::int64_t hc_iters = 0;  // hc_sinkhorn_iters
  float hc_eps = 0;
  float norm_eps = 0;               // rms_norm_eps
  std::int64_t experts = 0;         // n_routed_experts
  std::int64_t experts_active = 0;  // num_experts_per_tok, K
  std::int64_t shared_experts = 0;  // n_shared_experts, 0 or 1
  std::int64_t expert_width = 0;    // moe_intermediate_size
  float route_scale = 1;            // routed_scaling_factor
  float swiglu_limit = 0;           // 0: no clamp
  std::int64_t fp8_block = 128;     // weight_block_size
  ExpertDType expert_dtype = ExpertDType::kFromTensors;
  std::int32_t bos = 0, eos = 1;
  // DSpark (0731); block_size 0 when the checkpoint has none.
  std::int64_t dspark_block_size = 0, dspark_markov_rank = 0;
  std::int32_t dspark_noise_token = 0;
  std::vector<int> dspark_target_layers;
};

// `name` is used in messages.  Throws Error(kFormat) with one sentence: the key,
// what was found, what was wanted; kUnsupported for another model_type.
Config parse_config(std::string_view json, const std::string& name);

}  // namespace v4i::model
