// The released numbers, written out twice; see v41_config.h.
#include "tests/support/v41_config.h"

#include <nlohmann/json.hpp>

namespace v4i::test {

std::string v41_config() {
  return R"({
 "architectures": ["DeepseekV41ForCausalLM"], "model_type": "deepseek_v41", "dtype": "bfloat16",
 "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "image_token_id": 129264,
 "text_config": {
  "model_type": "deepseek_v41_text", "vocab_size": 129280, "hidden_size": 5120,
  "num_hidden_layers": 40, "max_position_embeddings": 1048576, "num_attention_heads": 64,
  "num_key_value_heads": 1, "head_dim": 512, "qk_rope_head_dim": 64, "q_lora_rank": 1280,
  "o_lora_rank": 1024, "o_groups": 8, "rms_norm_eps": 1e-20, "attention_bias": false,
  "rope_theta": 10000, "compress_rope_theta": 160000,
  "rope_scaling": {"rope_type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                   "original_max_position_embeddings": 65536},
  "sliding_window": 128,
  "compress_ratios": [0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
                      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
  "kv_source_layer_ids": [2, 8, 14, 20],
  "index_source_layer_ids": [2, 8, 14, 20, 24, 28, 32, 36],
  "index_n_heads": 32, "index_head_dim": 128, "index_topk": 512,
  "candidate_source_layer_id": 20, "candidate_topk_blocks": 2048, "candidate_block_size": 8,
  "n_routed_experts": 384, "num_experts_per_tok": 6, "n_shared_experts": 1,
  "moe_intermediate_size": 2304, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc",
  "norm_topk_prob": true, "routed_scaling_factor": 1.5, "swiglu_limit": 10.0,
  "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6,
  "engram_layer_ids": [1, 14], "engram_num_embeddings": [384006168, 384016682],
  "engram_max_ngram_size": 4, "engram_vocab_size": 16000000, "engram_n_heads": 8,
  "engram_head_dim": 256, "engram_pad_token_id": 2, "engram_compressed_vocab_size": 99092,
  "num_nextn_predict_layers": 3, "dspark_block_size": 5, "dspark_noise_token_id": 128799,
  "dspark_target_layer_ids": [37, 38, 39], "dspark_markov_rank": 256,
  "dspark_n_routed_experts": 128, "dspark_num_experts_per_tok": 3,
  "tie_word_embeddings": false, "hidden_act": "silu", "attention_dropout": 0.0,
  "initializer_range": 0.02, "use_cache": true},
 "vision_config": {
  "model_type": "deepseek_v41_vision", "num_hidden_layers": 32, "hidden_size": 1024,
  "num_attention_heads": 16, "intermediate_size": 2816, "patch_size": 14, "rope_theta": 10000,
  "downsample_ratio": 3, "max_image_tokens": 1024, "min_pixels": 295936, "max_wh_ratio": null},
 "quantization_config": {
  "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 32],
  "scale_fmt": "ue8m0", "expert_dtype": "fp4"}
})";
}

std::string v41_reference_config() {
  return R"({
 "vocab_size": 129280, "dim": 5120, "moe_inter_dim": 2304, "n_layers": 40, "n_mtp_layers": 3,
 "n_heads": 64, "n_routed_experts": 384, "n_shared_experts": 1, "n_activated_experts": 6,
 "score_func": "sqrtsoftplus", "norm_topk_prob": true, "route_scale": 1.5, "swiglu_limit": 10.0,
 "q_lora_rank": 1280, "head_dim": 512, "rope_head_dim": 64, "norm_eps": 1e-20, "o_groups": 8,
 "o_lora_rank": 1024, "window_size": 128,
 "compress_ratios": [0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
                     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
 "kv_source_layers": [2, 8, 14, 20], "index_source_layers": [2, 8, 14, 20, 24, 28, 32, 36],
 "compress_rope_theta": 160000, "original_seq_len": 65536, "rope_theta": 10000,
 "rope_factor": 16, "beta_fast": 32, "beta_slow": 1,
 "index_n_heads": 32, "index_head_dim": 128, "index_topk": 512,
 "candidate_source_layer": 20, "candidate_topk_blocks": 2048, "candidate_block_size": 8,
 "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-06,
 "engram_layer_ids": [1, 14], "engram_num_embeddings": [384006168, 384016682],
 "engram_max_ngram_size": 4, "engram_vocab_size": 16000000, "engram_n_heads": 8,
 "engram_head_dim": 256, "engram_pad_id": 2, "engram_compressed_vocab_size": 99092,
 "vision_n_layers": 32, "vision_dim": 1024, "vision_n_heads": 16, "vision_inter_dim": 2816,
 "vision_patch_size": 14, "vision_rope_theta": 10000, "vision_downsample_ratio": 3,
 "vision_max_n_token": 1024, "vision_min_pixels": 295936, "vision_max_wh_ratio": null,
 "image_token_id": 129264, "dspark_block_size": 5, "dspark_noise_token_id": 128799,
 "dspark_target_layer_ids": [37, 38, 39], "dspark_markov_rank": 256,
 "dspark_n_routed_experts": 128, "dspark_n_activated_experts": 3,
 "dtype": "fp8", "expert_dtype": "fp4", "scale_fmt": "ue8m0"
})";
}

std::string edit_json(const std::string& text, const std::string& path, const std::string& value) {
  using nlohmann::json;
  json object = json::parse(text);
  const json::json_pointer at(path);
  if (value.empty())
    object[at.parent_pointer()].erase(at.back());
  else
    object[at] = json::parse(value);
  return object.dump();
}

}  // namespace v4i::test
