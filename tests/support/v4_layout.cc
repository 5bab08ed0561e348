// Names, dtypes and shapes of a V4 checkpoint; see v4_layout.h.
#include "tests/support/v4_layout.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

namespace v4i::test {

namespace {

using nlohmann::json;
using Dims = std::vector<std::int64_t>;

class Layout {
 public:
  explicit Layout(const V4Shape& shape) : s_(shape) {}

  std::vector<LayoutTensor> all() {
    const std::int64_t n = s_.hc_mult;
    at("embed", "");
    add("embed.weight", "BF16", {s_.vocab, s_.width});
    for (std::int64_t l = 0; l < s_.layers; ++l) {
      at(fmt::format("layers.{}", l), fmt::format("layers.{}.", l));
      block(s_.ratios[static_cast<std::size_t>(l)], l < s_.hash_layers);
    }
    at("head", "");
    add("head.weight", "BF16", {s_.vocab, s_.width});
    add("norm.weight", "BF16", {s_.width});
    head(n);
    if (s_.mtp > 0) mtp(n);
    for (int i = 0; i < s_.dspark; ++i) dspark(i, n);
    return std::move(out_);
  }

 private:
  void at(const std::string& shard, const std::string& prefix) {
    shard_ = shard;
    prefix_ = prefix;
  }
  void add(const std::string& name, const std::string& dtype, Dims dims) {
    out_.push_back({prefix_ + name, dtype, std::move(dims), shard_});
  }
  void linear(const std::string& name, std::int64_t rows, std::int64_t cols,
              const std::string& as) {
    const bool fp4 = as == "fp4", fp8 = as == "fp8";
    add(name + ".weight", fp4 ? "I8" : fp8 ? "F8_E4M3" : as, {rows, fp4 ? cols / 2 : cols});
    if (fp4) add(name + ".scale", "F8_E8M0", {rows, cols / 32});
    if (fp8) add(name + ".scale", "F8_E8M0", {(rows + 127) / 128, (cols + 127) / 128});
  }
  void dense(const std::string& name, std::int64_t rows, std::int64_t cols) {
    linear(name, rows, cols, s_.dense_as);
  }
  void compressor(const std::string& p, std::int64_t ratio, std::int64_t dim) {
    const std::int64_t wide = ratio == 4 ? 2 * dim : dim;
    add(p + "ape", "F32", {ratio, wide});
    add(p + "norm.weight", "BF16", {dim});
    add(p + "wkv.weight", "BF16", {wide, s_.width});
    add(p + "wgate.weight", "BF16", {wide, s_.width});
  }
  void attention(int ratio) {
    const std::int64_t hd = s_.heads * s_.head_dim;
    add("attn.attn_sink", "F32", {s_.heads});
    add("attn.q_norm.weight", "BF16", {s_.q_lora});
    add("attn.kv_norm.weight", "BF16", {s_.head_dim});
    dense("attn.wq_a", s_.q_lora, s_.width);
    dense("attn.wq_b", hd, s_.q_lora);
    dense("attn.wkv", s_.head_dim, s_.width);
    dense("attn.wo_a", s_.o_groups * s_.o_lora, hd / s_.o_groups);
    dense("attn.wo_b", s_.width, s_.o_groups * s_.o_lora);
    if (ratio != 0) compressor("attn.compressor.", ratio, s_.head_dim);
    if (ratio != 4) return;
    dense("attn.indexer.wq_b", s_.index_heads * s_.index_dim, s_.q_lora);
    add("attn.indexer.weights_proj.weight", "BF16", {s_.index_heads, s_.width});
    compressor("attn.indexer.compressor.", ratio, s_.index_dim);
  }
  void block(int ratio, bool hashed) {
    attention(ratio);
    add("attn_norm.weight", "BF16", {s_.width});
    add("ffn_norm.weight", "BF16", {s_.width});
    add("ffn.gate.weight", "BF16", {s_.experts, s_.width});
    if (hashed)
      add("ffn.gate.tid2eid", "I64", {s_.vocab, s_.experts_active});
    else
      add("ffn.gate.bias", "F32", {s_.experts});
    for (std::int64_t e = 0; e < s_.experts; ++e)
      expert(fmt::format("ffn.experts.{}.", e), s_.experts_as);
    expert("ffn.shared_experts.", s_.dense_as);
    const std::int64_t mix = (2 + s_.hc_mult) * s_.hc_mult;
    for (const char* site : {"hc_attn", "hc_ffn"}) {
      add(fmt::format("{}_fn", site), "F32", {mix, s_.hc_mult * s_.width});
      add(fmt::format("{}_base", site), "F32", {mix});
      add(fmt::format("{}_scale", site), "F32", {3});
    }
  }
  void expert(const std::string& p, const std::string& as) {
    linear(p + "w1", s_.expert_width, s_.width, as);
    linear(p + "w2", s_.width, s_.expert_width, as);
    linear(p + "w3", s_.expert_width, s_.width, as);
  }
  void head(std::int64_t n) {
    add("hc_head_fn", "F32", {n, n * s_.width});
    add("hc_head_base", "F32", {n});
    add("hc_head_scale", "F32", {1});
  }
  void mtp(std::int64_t n) {
    at("mtp.0", "mtp.0.");
    block(0, false);
    dense("e_proj", s_.width, s_.width);
    dense("h_proj", s_.width, s_.width);
    for (const char* name : {"enorm.weight", "hnorm.weight", "norm.weight"})
      add(name, "BF16", {s_.width});
    head(n);
  }
  void dspark(int stage, std::int64_t n) {
    at(fmt::format("mtp.{}", stage), fmt::format("mtp.{}.", stage));
    block(0, false);
    if (stage == 0) {
      dense("main_proj", s_.width, s_.dspark * s_.width);
      add("main_norm.weight", "BF16", {s_.width});
    }
    if (stage + 1 != s_.dspark) return;
    add("norm.weight", "BF16", {s_.width});
    head(n);
    add("markov_head.markov_w1.weight", "BF16", {s_.vocab, s_.markov_rank});
    add("markov_head.markov_w2.weight", "BF16", {s_.vocab, s_.markov_rank});
    add("confidence_head.proj.weight", "BF16", {1, s_.width + s_.markov_rank});
  }

  const V4Shape& s_;
  std::string shard_, prefix_;
  std::vector<LayoutTensor> out_;
};

std::size_t element_bytes(const std::string& dtype) {
  if (dtype == "I64") return 8;
  if (dtype == "F32") return 4;
  return dtype == "BF16" ? 2 : 1;
}

std::size_t tensor_bytes(const LayoutTensor& t) {
  std::size_t n = element_bytes(t.dtype);
  for (const std::int64_t d : t.shape) n *= static_cast<std::size_t>(d);
  return n;
}

std::string random_bytes(const LayoutTensor& t, const V4Shape& s, std::mt19937_64& rng) {
  std::string out(tensor_bytes(t), '\0');
  const std::size_t step = element_bytes(t.dtype);
  for (std::size_t i = 0; i < out.size(); i += step) {
    const std::uint64_t r = rng();
    const float x = static_cast<float>(r >> 40) * 0x1p-24f - 0.5f;
    std::uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const std::int64_t id = static_cast<std::int64_t>(r % static_cast<std::uint64_t>(s.experts));
    if (t.dtype == "I64") std::memcpy(&out[i], &id, 8);
    if (t.dtype == "F32") std::memcpy(&out[i], &bits, 4);
    if (t.dtype == "BF16") std::memcpy(&out[i], reinterpret_cast<const char*>(&bits) + 2, 2);
    if (t.dtype == "I8") out[i] = static_cast<char>(r);
    if (t.dtype == "F8_E8M0") out[i] = static_cast<char>(118 + r % 4);
    if (t.dtype == "F8_E4M3") out[i] = static_cast<char>((r & 0x7f) > 0x68 ? r & 0x8f : r & 0xff);
  }
  return out;
}

}  // namespace

V4Shape v4_flash() {
  V4Shape s;
  for (int l = 0; l < 43; ++l) s.ratios.push_back(l < 2 ? 0 : l % 2 == 0 ? 4 : 128);
  return s;
}

V4Shape v4_pro() {
  V4Shape s;
  s.width = 7168, s.expert_width = 3072, s.layers = 61, s.heads = 128, s.q_lora = 1536;
  s.o_groups = 16, s.index_topk = 1024, s.experts = 384, s.route_scale = 2.5;
  for (int l = 0; l < 61; ++l) s.ratios.push_back(l >= 2 && l % 2 == 0 ? 4 : 128);
  return s;
}

V4Shape odd_shape() {
  V4Shape s;
  s.vocab = 37, s.width = 160, s.expert_width = 96, s.layers = 2, s.hash_layers = 1;
  s.heads = 6, s.head_dim = 36, s.rope_dim = 8, s.q_lora = 50, s.o_groups = 3, s.o_lora = 7;
  s.index_heads = 3, s.index_dim = 32, s.index_topk = 4, s.hc_mult = 3;
  s.experts = 5, s.experts_active = 2, s.window = 5, s.markov_rank = 9;
  s.ratios = {4, 128};
  return s;
}

std::vector<LayoutTensor> v4_tensors(const V4Shape& shape) { return Layout(shape).all(); }

std::string v4_config(const V4Shape& s) {
  std::vector<int> ratios = s.ratios;
  ratios.resize(ratios.size() + static_cast<std::size_t>(s.mtp + s.dspark), 0);
  json c = {{"model_type", "deepseek_v4"},
            {"vocab_size", s.vocab},
            {"hidden_size", s.width},
            {"num_hidden_layers", s.layers},
            {"num_hash_layers", s.hash_layers},
            {"num_attention_heads", s.heads},
            {"num_key_value_heads", 1},
            {"head_dim", s.head_dim},
            {"qk_rope_head_dim", s.rope_dim},
            {"q_lora_rank", s.q_lora},
            {"o_groups", s.o_groups},
            {"o_lora_rank", s.o_lora},
            {"sliding_window", s.window},
            {"compress_ratios", ratios},
            {"rope_theta", 10000},
            {"compress_rope_theta", 160000},
            {"rope_scaling",
             {{"type", "yarn"},
              {"factor", 16},
              {"beta_fast", 32},
              {"beta_slow", 1},
              {"original_max_position_embeddings", 65536}}},
            {"max_position_embeddings", 1048576},
            {"index_n_heads", s.index_heads},
            {"index_head_dim", s.index_dim},
            {"index_topk", s.index_topk},
            {"hc_mult", s.hc_mult},
            {"hc_sinkhorn_iters", 20},
            {"hc_eps", 1e-6},
            {"rms_norm_eps", 1e-6},
            {"n_routed_experts", s.experts},
            {"num_experts_per_tok", s.experts_active},
            {"n_shared_experts", 1},
            {"moe_intermediate_size", s.expert_width},
            {"scoring_func", "sqrtsoftplus"},
            {"topk_method", "noaux_tc"},
            {"norm_topk_prob", true},
            {"routed_scaling_factor", s.route_scale},
            {"swiglu_limit", 10.0},
            {"hidden_act", "silu"},
            {"bos_token_id", 0},
            {"eos_token_id", 1}};
  c["quantization_config"] = {{"quant_method", "fp8"},
                              {"fmt", "e4m3"},
                              {"scale_fmt", "ue8m0"},
                              {"weight_block_size", {128, 128}}};
  if (s.experts_as == "fp4" || s.experts_as == "fp8") c["expert_dtype"] = s.experts_as;
  if (s.dspark > 0) {
    c["dspark_block_size"] = 5;
    c["dspark_markov_rank"] = s.markov_rank;
    c["dspark_noise_token_id"] = s.vocab - 1;
    std::vector<std::int64_t> taps;
    for (int i = 0; i < s.dspark; ++i) taps.push_back(s.layers - 1 - i % s.layers);
    c["dspark_target_layer_ids"] = taps;
  }
  return c.dump(1);
}

void write_sparse_checkpoint(const std::string& folder, const V4Shape& shape) {
  write_sparse_checkpoint(folder, v4_tensors(shape), v4_config(shape));
}

void write_sparse_checkpoint(const std::string& folder, const std::vector<LayoutTensor>& tensors,
                             const std::string& config) {
  std::vector<std::pair<std::string, json>> shards;  // in order of appearance
  std::map<std::string, std::uint64_t> sizes;
  for (const LayoutTensor& t : tensors) {
    if (shards.empty() || shards.back().first != t.shard_key)
      shards.emplace_back(t.shard_key, json::object());
    std::uint64_t& at = sizes[t.shard_key];
    shards.back().second[t.name] = {
        {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + tensor_bytes(t)}}};
    at += tensor_bytes(t);
  }
  json map = json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file =
        fmt::format("model-{:05d}-of-{:05d}.safetensors", i + 1, shards.size());
    const std::string head = safetensors_bytes(shards[i].second.dump(), "");
    write_file(folder + "/" + file, head);
    std::filesystem::resize_file(folder + "/" + file, head.size() + sizes[shards[i].first]);
    for (const auto& item : shards[i].second.items()) map[item.key()] = file;
  }
  write_file(folder + "/model.safetensors.index.json", json{{"weight_map", map}}.dump(1));
  write_file(folder + "/config.json", config);
}

void write_random_checkpoint(const std::string& folder, const V4Shape& shape, int seed) {
  std::mt19937_64 rng(static_cast<std::uint64_t>(seed));
  StFile file;
  for (const LayoutTensor& t : v4_tensors(shape))
    file[t.name] = {t.dtype, t.shape, random_bytes(t, shape, rng)};
  write_safetensors(folder + "/model.safetensors", file);
  write_file(folder + "/config.json", v4_config(shape));
}

}  // namespace v4i::test
