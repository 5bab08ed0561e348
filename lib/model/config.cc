// Reads config.json under both spellings; see config.h.
#include "lib/model/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/model/config_reader.h"
#include "lib/model/config_v41.h"

namespace v4i::model {

namespace {

using nlohmann::json;

// The upper limits are far above any model of the family; they keep every product
// of three sizes inside 64 bits.
constexpr IntKey kIntKeys[] = {
    {"vocab_size", nullptr, &Config::vocab, 2, 1 << 22},
    {"hidden_size", "dim", &Config::width, 1, 1 << 17},
    {"num_hidden_layers", "n_layers", &Config::layers, 1, 512},
    {"num_attention_heads", "n_heads", &Config::heads, 1, 4096},
    {"head_dim", nullptr, &Config::head_dim, 2, 1 << 14},
    {"qk_rope_head_dim", "rope_head_dim", &Config::rope_dim, 2, 1 << 14},
    {"q_lora_rank", nullptr, &Config::q_lora, 1, 1 << 17},
    {"o_groups", nullptr, &Config::o_groups, 1, 4096},
    {"o_lora_rank", nullptr, &Config::o_lora, 1, 1 << 17},
    {"sliding_window", "window_size", &Config::window, 1, 1 << 20},
    {"index_n_heads", nullptr, &Config::index_heads, 1, 4096},
    {"index_head_dim", nullptr, &Config::index_dim, 2, 1 << 14},
    {"index_topk", nullptr, &Config::index_topk, 1, 1 << 24},
    {"hc_mult", nullptr, &Config::hc_mult, 1, 64},
    {"hc_sinkhorn_iters", nullptr, &Config::hc_iters, 1, 1000},
    {"n_routed_experts", nullptr, &Config::experts, 1, 4096},
    {"num_experts_per_tok", "n_activated_experts", &Config::experts_active, 1, 64},
    {"n_shared_experts", nullptr, &Config::shared_experts, 0, 1},
    {"moe_intermediate_size", "moe_inter_dim", &Config::expert_width, 1, 1 << 17},
    {"max_position_embeddings", nullptr, &Config::max_positions, 1, 0x7fffffff, false},
    {"dspark_block_size", nullptr, &Config::dspark_block_size, 0, 64, false},
    {"dspark_markov_rank", nullptr, &Config::dspark_markov_rank, 0, 1 << 17, false},
};

constexpr IntKey kV4Keys[] = {
    {"num_hash_layers", "n_hash_layers", &Config::hash_layers, 0, 512},
};

constexpr double kLargest = 1e12;
constexpr RealKey kRopeTheta = {"rope_theta", nullptr, 1.0, kLargest};
constexpr RealKey kCompressTheta = {"compress_rope_theta", nullptr, 1.0, kLargest};
constexpr RealKey kRouteScale = {"routed_scaling_factor", "route_scale", 1e-6, 1e6};
constexpr RealKey kSwigluLimit = {"swiglu_limit", nullptr, 0.0, kLargest};
constexpr RealKey kNormEps = {"rms_norm_eps", "norm_eps", 1e-30, 1.0};
constexpr RealKey kHcEps = {"hc_eps", nullptr, 1e-30, 1.0};
constexpr RealKey kFactor = {"factor", "rope_factor", 1.0, 1e6};
constexpr RealKey kBetaFast = {"beta_fast", nullptr, 1e-6, 1e6};
constexpr RealKey kBetaSlow = {"beta_slow", nullptr, 1e-6, 1e6};
constexpr IntKey kOriginal = {"original_max_position_embeddings", "original_seq_len", nullptr, 0,
                              0x7fffffff};

// What the forward pass implements; another value means another model.
constexpr FixedKey kFixed[] = {
    {"scoring_func", "score_func", "\"sqrtsoftplus\""},
    {"topk_method", nullptr, "\"noaux_tc\""},
    {"norm_topk_prob", nullptr, "true"},
    {"hidden_act", nullptr, "\"silu\""},
    {"attention_bias", nullptr, "false"},
    {"num_key_value_heads", nullptr, "1"},
    {"tie_word_embeddings", nullptr, "false"},
};

// The family is told by model_type, at the top or in text_config (there "deepseek_v41_text");
// inference/config.json has none, and there the keys decide (kv_source_layers is V4.1's).
std::string read_family(const ConfigReader& top, const json* text_config, const ConfigReader& r,
                        const std::string& name) {
  constexpr std::string_view kText = "_text";
  std::string family;
  const auto take = [&](const json* type, const char* key) {
    if (type == nullptr) return;
    std::string found = type->is_string() ? type->get<std::string>() : "";
    if (found.ends_with(kText)) found.resize(found.size() - kText.size());
    if (found != "deepseek_v4" && found != "deepseek_v41")
      fail(Code::kUnsupported, "{}: {} is {}, expected \"deepseek_v4\" or \"deepseek_v41\"", name,
           key, ConfigReader::text(*type));
    if (!family.empty() && found != family)
      fail(Code::kFormat, "{}: {} is {}, expected \"{}{}\"", name, key, ConfigReader::text(*type),
           family, kText);
    family = found;
  };
  take(top.get("model_type", nullptr), "model_type");
  if (text_config != nullptr)
    take(ConfigReader(*text_config, name).get("model_type", nullptr), "text_config.model_type");
  if (!family.empty()) return family;
  const bool shares = r.get("kv_source_layer_ids", "kv_source_layers") != nullptr;
  return shares ? "deepseek_v41" : "deepseek_v4";
}

// HF nests the YaRN numbers in rope_scaling; the reference has them at the top.
RopeScaling read_rope_scaling(const ConfigReader& top, const std::string& name) {
  const json* nested = top.object("rope_scaling");
  const ConfigReader r = nested != nullptr ? ConfigReader(*nested, name) : top;
  RopeScaling out;
  if (nested != nullptr) {
    const json* type = r.get("type", "rope_type");
    if (type != nullptr && *type == "default") return out;
    if (type == nullptr || *type != "yarn")
      fail(Code::kUnsupported, "{}: rope_scaling type is {}, only \"yarn\" is supported", name,
           type == nullptr ? "missing" : ConfigReader::text(*type));
  }
  out.original_positions = r.find_integer(kOriginal).value_or(0);
  if (out.original_positions == 0 && nested == nullptr) return out;
  out.factor = r.real(kFactor);
  out.beta_fast = r.find_real(kBetaFast).value_or(out.beta_fast);
  out.beta_slow = r.find_real(kBetaSlow).value_or(out.beta_slow);
  return out;
}

// For inference/config.json, which does not say: what YaRN stretches to.
std::int64_t trained_positions(const RopeScaling& r) {
  constexpr double kMax = 2147483647.0;
  if (r.original_positions == 0) return std::int64_t{1} << 20;
  return static_cast<std::int64_t>(
      std::min(r.factor * static_cast<double>(r.original_positions), kMax));
}

std::int64_t read_fp8_block(const ConfigReader& top, const Config& c, const std::string& name) {
  const std::int64_t absent = c.is_v41() ? 32 : 128;
  const json* q = top.object("quantization_config");
  if (q == nullptr) return absent;
  const ConfigReader r(*q, name, "quantization_config.");
  constexpr FixedKey kWanted[] = {{"quant_method", nullptr, "\"fp8\""},
                                  {"fmt", nullptr, "\"e4m3\""},
                                  {"scale_fmt", nullptr, "\"ue8m0\""}};
  for (const FixedKey& k : kWanted) r.require(k);
  const json* size = r.get("weight_block_size", nullptr);
  if (size == nullptr) return absent;
  const std::vector<std::int64_t> block = r.list(*size, "weight_block_size", 1, 4096);
  if (block.size() != 2 || block[0] != block[1])
    fail(Code::kUnsupported, "{}: weight_block_size is not a square such as [{}, {}]", name, absent,
         absent);
  return block[0];
}

// V4's key lies beside the others, V4.1's in quantization_config.
ExpertDType read_expert_dtype(const ConfigReader& r, const Config& c, const std::string& name) {
  const json* v = r.get("expert_dtype", nullptr);
  const json* q = r.object("quantization_config");
  if (v == nullptr && q != nullptr && c.is_v41())
    v = ConfigReader(*q, name).get("expert_dtype", nullptr);
  if (v == nullptr) return ExpertDType::kFromTensors;
  if (*v == "fp4") return ExpertDType::kFp4;
  if (*v == "fp8") return ExpertDType::kFp8;
  fail(Code::kUnsupported, "{}: expert_dtype is {}, expected \"fp4\" or \"fp8\"", name,
       ConfigReader::text(*v));
}

std::vector<int> read_ratios(const ConfigReader& r, const Config& c, const std::string& name) {
  const json* v = r.get("compress_ratios", nullptr);
  if (v == nullptr) r.missing("compress_ratios", nullptr);
  std::vector<int> out;
  for (const std::int64_t ratio : r.list(*v, "compress_ratios", 0, 128)) {
    if (!c.is_v41() && ratio != 0 && ratio != 4 && ratio != 128)
      fail(Code::kUnsupported, "{}: compress_ratios has {}, expected 0, 4 or 128", name, ratio);
    out.push_back(static_cast<int>(ratio));
  }
  constexpr std::int64_t kMaxDraft = 8;
  const auto n = static_cast<std::int64_t>(out.size());
  if (n < c.layers || n > c.layers + kMaxDraft)
    fail(Code::kFormat,
         "{}: compress_ratios has {} entries, expected {} for the layers and up to {} for draft "
         "stages",
         name, n, c.layers, kMaxDraft);
  for (std::int64_t i = c.layers; i < n; ++i)
    if (out[static_cast<std::size_t>(i)] != 0)
      fail(Code::kUnsupported, "{}: compress_ratios has {} for a draft stage, expected 0", name,
           out[static_cast<std::size_t>(i)]);
  return out;
}

std::int32_t read_token(const ConfigReader& r, const Config& c, const char* key,
                        std::int32_t absent) {
  const json* v = r.get(key, nullptr);
  if (v == nullptr) return absent;
  if (v->is_array() && !v->empty()) v = &v->front();  // eos_token_id may be a list
  return static_cast<std::int32_t>(r.integer(*v, key, 0, c.vocab - 1));
}

void read_dspark(const ConfigReader& r, Config& c, const std::string& name) {
  c.dspark_noise_token = read_token(r, c, "dspark_noise_token_id", 0);
  const json* taps = r.get("dspark_target_layer_ids", nullptr);
  if (taps != nullptr)
    for (const std::int64_t t : r.list(*taps, "dspark_target_layer_ids", 0, c.layers - 1))
      c.dspark_target_layers.push_back(static_cast<int>(t));
  if (c.dspark_target_layers.size() > static_cast<std::size_t>(c.layers))
    fail(Code::kFormat, "{}: dspark_target_layer_ids has {} entries, expected at most {}", name,
         c.dspark_target_layers.size(), c.layers);
  std::vector<int> sorted = c.dspark_target_layers;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end())
    fail(Code::kFormat, "{}: dspark_target_layer_ids has layer {} twice, expected different layers",
         name, *twice);
  if (c.dspark_block_size > 0 && (c.dspark_markov_rank == 0 || c.dspark_target_layers.empty()))
    fail(Code::kFormat,
         "{}: dspark_block_size is {}, so dspark_markov_rank and dspark_target_layer_ids must be "
         "there too",
         name, c.dspark_block_size);
}

// Numbers that must agree with each other.
void check_together(const Config& c, const std::string& name) {
  if (c.hash_layers > c.layers)
    fail(Code::kFormat, "{}: num_hash_layers is {}, expected at most num_hidden_layers {}", name,
         c.hash_layers, c.layers);
  if (c.heads % c.o_groups != 0)
    fail(Code::kFormat, "{}: o_groups is {}, expected a divisor of num_attention_heads {}", name,
         c.o_groups, c.heads);
  if (c.rope_dim % 2 != 0 || c.rope_dim > c.head_dim)
    fail(Code::kFormat, "{}: qk_rope_head_dim is {}, expected even and at most head_dim {}", name,
         c.rope_dim, c.head_dim);
  if (c.rope_dim > c.index_dim)
    fail(Code::kFormat, "{}: index_head_dim is {}, expected at least qk_rope_head_dim {}", name,
         c.index_dim, c.rope_dim);
  if (c.experts_active > c.experts)
    fail(Code::kFormat, "{}: num_experts_per_tok is {}, expected at most n_routed_experts {}", name,
         c.experts_active, c.experts);
}

}  // namespace

Config parse_config(std::string_view text, const std::string& name) {
  const json object = parse_json_object(text, name);
  const ConfigReader top(object, name);
  const json* inner = top.object("text_config");
  const ConfigReader r = inner != nullptr ? ConfigReader(object, *inner, "text_config", name) : top;
  Config c;
  c.model_type = read_family(top, inner, r, name);
  for (const FixedKey& k : kFixed) r.require(k);
  r.read(kIntKeys, c);
  if (!c.is_v41()) r.read(kV4Keys, c);
  check_together(c, name);
  c.ratios = read_ratios(r, c, name);
  c.rope_theta = r.real(kRopeTheta);
  c.compress_rope_theta = r.real(kCompressTheta);
  c.rope_scaling = read_rope_scaling(r, name);
  if (c.max_positions == 0) c.max_positions = trained_positions(c.rope_scaling);
  // What the reference takes when its config leaves them out.
  c.norm_eps = static_cast<float>(r.find_real(kNormEps).value_or(c.is_v41() ? 1e-20 : 1e-6));
  c.hc_eps = static_cast<float>(r.find_real(kHcEps).value_or(1e-6));
  c.route_scale = static_cast<float>(r.real(kRouteScale));
  c.swiglu_limit = static_cast<float>(r.find_real(kSwigluLimit).value_or(0.0));
  c.fp8_block = read_fp8_block(r, c, name);
  c.expert_dtype = read_expert_dtype(r, c, name);
  c.bos = read_token(r, c, "bos_token_id", 0);
  c.eos = read_token(r, c, "eos_token_id", 1);
  read_dspark(r, c, name);
  c.draft_experts = c.experts;
  c.draft_experts_active = c.experts_active;
  if (c.is_v41()) read_v41(r, top, c, name);
  return c;
}

}  // namespace v4i::model
