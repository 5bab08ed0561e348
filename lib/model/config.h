// Config: the numbers of config.json, under one set of names.
//
// Accepts the Hugging Face names (hidden_size, num_hidden_layers, ...) and those
// of the reference's inference/config.json (dim, n_layers, ...); the language
// model's numbers may stand in a text_config object, as DeepSeek-V4.1's do.  Every
// number is range-checked here, so that nothing behind this header meets a zero or
// a negative size, and lists of layers name layers that can do what they are named
// for.  Source: docs/model.md.
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

  bool operator==(const RopeScaling&) const = default;
};

enum class ExpertDType { kFromTensors, kFp4, kFp8 };

// The hashed n-gram tables of V4.1.  They are added to the residual streams before
// `layers`; table i has rows[i] rows of heads' pieces, each `head_dim` wide.
struct EngramConfig {
  std::vector<int> layers;         // engram_layer_ids, rising; empty: no Engram
  std::vector<std::int64_t> rows;  // engram_num_embeddings, one per layer
  std::int64_t max_ngram = 0;      // engram_max_ngram_size: orders 2 to this
  std::int64_t heads = 0;          // engram_n_heads, per order
  std::int64_t head_dim = 0;       // engram_head_dim, width of a row; a multiple of 32
  std::int64_t bucket_rows = 0;    // engram_vocab_size: primes above it are the heads' moduli
  std::int64_t classes = 0;        // engram_compressed_vocab_size: classes of token ids
  std::int32_t pad_token = 0;      // engram_pad_token_id: stands for tokens before the first

  bool operator==(const EngramConfig&) const = default;
};

// The image tower of V4.1: vision_config, or vision_* at the top.
struct VisionConfig {
  std::int64_t layers = 0;      // num_hidden_layers; 0: no tower, all else is 0 then
  std::int64_t width = 0;       // hidden_size
  std::int64_t heads = 0;       // num_attention_heads; width % heads == 0
  std::int64_t mlp_width = 0;   // intermediate_size
  std::int64_t patch = 0;       // patch_size, pixels
  std::int64_t downsample = 0;  // downsample_ratio, patches per side of one image token
  std::int64_t max_tokens = 0;  // max_image_tokens
  std::int64_t min_pixels = 0;
  double rope_theta = 0;
  double max_wh_ratio = 0;       // 0: no limit
  std::int32_t image_token = 0;  // image_token_id, in the language model's vocabulary

  bool operator==(const VisionConfig&) const = default;
};

struct Config {
  std::string model_type;        // "deepseek_v4" or "deepseek_v41"
  std::int64_t vocab = 0;        // vocab_size
  std::int64_t width = 0;        // hidden_size, D
  std::int64_t layers = 0;       // num_hidden_layers, the backbone only
  std::int64_t hash_layers = 0;  // num_hash_layers: these route by token id
  std::int64_t heads = 0;        // num_attention_heads, H
  std::int64_t head_dim = 0;     // d, of q, k and v
  std::int64_t rope_dim = 0;     // qk_rope_head_dim, the last channels of a head; even
  std::int64_t q_lora = 0;       // q_lora_rank
  std::int64_t o_groups = 0;     // G; heads % G == 0
  std::int64_t o_lora = 0;       // o_lora_rank
  std::int64_t window = 0;       // sliding_window, the current token included
  // compress_ratios, at least `layers` entries: 0, 4 or 128 in V4, 0 to 128 in V4.1
  std::vector<int> ratios;
  double rope_theta = 0;           // ratio-0 layers
  double compress_rope_theta = 0;  // all other layers, with rope_scaling
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
  // DSpark (0731, V4.1); block_size 0 when the checkpoint has none.
  std::int64_t dspark_block_size = 0, dspark_markov_rank = 0;
  std::int32_t dspark_noise_token = 0;
  std::vector<int> dspark_target_layers;
  // Of a draft stage; the backbone's in V4.  dspark_n_routed_experts, dspark_num_experts_per_tok
  std::int64_t draft_experts = 0, draft_experts_active = 0;

  // What follows is V4.1's; empty, 0 or -1 in V4.
  std::vector<int> kv_sources;        // kv_source_layer_ids, rising: layers that compress
  std::vector<int> index_sources;     // index_source_layer_ids, rising: layers that run an indexer
  int candidate_source = -1;          // candidate_source_layer_id, an index source; -1: none
  std::int64_t candidate_blocks = 0;  // candidate_topk_blocks: blocks that it keeps
  std::int64_t candidate_block_rows = 0;  // candidate_block_size: compressed rows in a block
  float gate_temp = 1;                    // router scores are divided by it
  EngramConfig engram;
  VisionConfig vision;

  bool operator==(const Config&) const = default;
  bool is_v41() const { return model_type == "deepseek_v41"; }
};

// `name` is used in messages.  Throws Error(kFormat) with one sentence: the key,
// what was found, what was wanted; kUnsupported for another model_type.
Config parse_config(std::string_view json, const std::string& name);

}  // namespace v4i::model
