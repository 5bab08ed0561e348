// Reads and cross-checks V4.1's numbers; see config_v41.h.
#include "lib/model/config_v41.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/model/config_reader.h"

namespace v4i::model {

namespace {

using nlohmann::json;

constexpr FixedKey kNoHashLayers = {"num_hash_layers", "n_hash_layers", "0"};
constexpr RealKey kGateTemp = {"gate_temp", nullptr, 1e-6, 1e6};
constexpr RealKey kMaxRatio = {"max_wh_ratio", nullptr, 1.0, 1e6};
constexpr RealKey kVisionTheta = {"rope_theta", nullptr, 1.0, 1e12};

constexpr IntKey kCandidateKeys[] = {
    {"candidate_topk_blocks", nullptr, &Config::candidate_blocks, 1, 1 << 24},
    {"candidate_block_size", nullptr, &Config::candidate_block_rows, 1, 1 << 16},
};

constexpr IntKey kDraftKeys[] = {
    {"dspark_n_routed_experts", nullptr, &Config::draft_experts, 0, 4096, false},
    {"dspark_num_experts_per_tok", "dspark_n_activated_experts", &Config::draft_experts_active, 0,
     64, false},
};

constexpr IntKeyOf<EngramConfig> kEngramKeys[] = {
    {"engram_max_ngram_size", nullptr, &EngramConfig::max_ngram, 2, 16},
    {"engram_n_heads", nullptr, &EngramConfig::heads, 1, 256},
    {"engram_head_dim", nullptr, &EngramConfig::head_dim, 1, 1 << 14},
    {"engram_vocab_size", nullptr, &EngramConfig::bucket_rows, 1, 0x7fffffff},
    {"engram_compressed_vocab_size", nullptr, &EngramConfig::classes, 1, 1 << 22},
};

// Names in vision_config, and at the top of inference/config.json.
constexpr IntKeyOf<VisionConfig> kVisionKeys[] = {
    {"num_hidden_layers", "vision_n_layers", &VisionConfig::layers, 0, 512},
    {"hidden_size", "vision_dim", &VisionConfig::width, 1, 1 << 17},
    {"num_attention_heads", "vision_n_heads", &VisionConfig::heads, 1, 4096},
    {"intermediate_size", "vision_inter_dim", &VisionConfig::mlp_width, 1, 1 << 17},
    {"patch_size", "vision_patch_size", &VisionConfig::patch, 1, 1 << 10},
    {"downsample_ratio", "vision_downsample_ratio", &VisionConfig::downsample, 1, 64},
    {"max_image_tokens", "vision_max_n_token", &VisionConfig::max_tokens, 19, 1 << 20},
    {"min_pixels", "vision_min_pixels", &VisionConfig::min_pixels, 0, 64 << 20},
};

bool contains(const std::vector<int>& layers, int layer) {
  return std::binary_search(layers.begin(), layers.end(), layer);
}

std::vector<int> required_layers(const ConfigReader& r, const Config& c, const char* hf,
                                 const char* reference) {
  if (r.get(hf, reference) == nullptr) r.missing(hf, reference);
  return r.layers(hf, reference, c.layers);
}

// The layer whose rows `layer` reads: the closest kv source up to it; -1: none.
int rows_owner(const Config& c, int layer) {
  const auto after = std::upper_bound(c.kv_sources.begin(), c.kv_sources.end(), layer);
  return after == c.kv_sources.begin() ? -1 : *(after - 1);
}

void check_sources(const Config& c, const std::string& name) {
  for (int i = 0; i < static_cast<int>(c.layers); ++i) {
    const int ratio = c.ratios[static_cast<std::size_t>(i)], owner = rows_owner(c, i);
    const bool kv = owner == i, index = contains(c.index_sources, i);
    if (ratio == 0 && (kv || index))
      fail(Code::kFormat, "{}: {} has layer {}, whose entry in compress_ratios is 0", name,
           kv ? "kv_source_layer_ids" : "index_source_layer_ids", i);
    if (kv && !index)
      fail(Code::kFormat,
           "{}: kv_source_layer_ids has layer {}, expected in index_source_layer_ids too: its "
           "indexer makes the keys of its rows",
           name, i);
    if (ratio == 0) continue;
    if (owner < 0)
      fail(Code::kFormat,
           "{}: compress_ratios has {} for layer {}, expected 0 before the first layer of "
           "kv_source_layer_ids",
           name, ratio, i);
    const int owned = c.ratios[static_cast<std::size_t>(owner)];
    if (ratio != owned)
      fail(Code::kFormat,
           "{}: compress_ratios has {} for layer {}, expected {}, that of layer {} whose rows it "
           "reads",
           name, ratio, i, owned, owner);
  }
}

void read_candidates(const ConfigReader& r, Config& c, const std::string& name) {
  const IntKey source = {"candidate_source_layer_id", "candidate_source_layer", nullptr, -1,
                         c.layers - 1};
  c.candidate_source = static_cast<int>(r.find_integer(source).value_or(-1));
  if (c.candidate_source < 0) return;
  r.read(kCandidateKeys, c);
  if (!contains(c.index_sources, c.candidate_source))
    fail(Code::kFormat, "{}: {} is {}, expected a layer of index_source_layer_ids", name, source.hf,
         c.candidate_source);
  const int owner = rows_owner(c, c.candidate_source);
  for (const int layer : c.index_sources)
    if (layer > c.candidate_source && rows_owner(c, layer) != owner)
      fail(Code::kFormat,
           "{}: {} is {}, but layer {} of index_source_layer_ids selects among the rows of layer "
           "{}, not of {}",
           name, source.hf, c.candidate_source, layer, rows_owner(c, layer), owner);
  // The block of the newest row may hold that row only.
  const std::int64_t fewest = (c.candidate_blocks - 1) * c.candidate_block_rows + 1;
  if (fewest < c.index_topk)
    fail(Code::kUnsupported,
         "{}: candidate_topk_blocks is {} with candidate_block_size {}, which may leave {} rows, "
         "expected at least index_topk {}",
         name, c.candidate_blocks, c.candidate_block_rows, fewest, c.index_topk);
}

void read_engram(const ConfigReader& r, const Config& c, EngramConfig& e, const std::string& name) {
  e.layers = r.layers("engram_layer_ids", nullptr, c.layers);
  if (e.layers.empty()) return;
  r.read(kEngramKeys, e);
  constexpr const char* kRows = "engram_num_embeddings";
  const json* rows = r.get(kRows, nullptr);
  if (rows == nullptr) r.missing(kRows, nullptr);
  e.rows = r.list(*rows, kRows, 1, 0x7fffffff);
  if (e.rows.size() != e.layers.size())
    fail(Code::kFormat, "{}: {} has {} entries, expected {}, one for each of engram_layer_ids",
         name, kRows, e.rows.size(), e.layers.size());
  constexpr std::int64_t kScaleWidth = 32;
  if (e.head_dim % kScaleWidth != 0)
    fail(Code::kFormat, "{}: engram_head_dim is {}, expected a multiple of {}", name, e.head_dim,
         kScaleWidth);
  if (e.classes > c.vocab)
    fail(Code::kFormat, "{}: engram_compressed_vocab_size is {}, expected at most vocab_size {}",
         name, e.classes, c.vocab);
  const IntKey pad = {"engram_pad_token_id", "engram_pad_id", nullptr, 0, c.vocab - 1};
  const std::optional<std::int64_t> token = r.find_integer(pad);
  if (!token) r.missing(pad.hf, pad.reference);
  e.pad_token = static_cast<std::int32_t>(*token);
}

void read_draft(const ConfigReader& r, Config& c, const std::string& name) {
  r.read(kDraftKeys, c);
  if (c.draft_experts == 0) c.draft_experts = c.experts;
  if (c.draft_experts_active == 0) c.draft_experts_active = c.experts_active;
  if (c.draft_experts_active > c.draft_experts)
    fail(Code::kFormat,
         "{}: dspark_num_experts_per_tok is {}, expected at most dspark_n_routed_experts {}", name,
         c.draft_experts_active, c.draft_experts);
}

VisionConfig read_vision(const ConfigReader& top, const Config& c, const std::string& name) {
  VisionConfig v;
  const json* nested = top.object("vision_config");
  if (nested == nullptr && top.get("vision_n_layers", nullptr) == nullptr) return v;
  const ConfigReader r = nested == nullptr ? top : ConfigReader(*nested, name, "vision_config.");
  const auto real = [&](RealKey k, const char* flat) {
    return r.find_real({nested == nullptr ? flat : k.hf, nullptr, k.low, k.high});
  };
  for (const IntKeyOf<VisionConfig>& k : kVisionKeys) {
    const char* key = nested == nullptr ? k.reference : k.hf;
    const json* value = r.get(key, nullptr);
    if (value == nullptr) r.missing(key, nullptr);
    v.*k.field = r.integer(*value, key, k.low, k.high);
    if (v.layers == 0) return v;
  }
  if (v.width % v.heads != 0)
    fail(Code::kFormat, "{}: the image tower is {} wide, expected a multiple of its {} heads", name,
         v.width, v.heads);
  const std::optional<double> theta = real(kVisionTheta, "vision_rope_theta");
  if (!theta) r.missing(nested == nullptr ? "vision_rope_theta" : kVisionTheta.hf, nullptr);
  v.rope_theta = *theta;
  v.max_wh_ratio = real(kMaxRatio, "vision_max_wh_ratio").value_or(0.0);
  const IntKey token = {"image_token_id", nullptr, nullptr, 0, c.vocab - 1};
  const std::optional<std::int64_t> id = top.find_integer(token);
  if (!id) top.missing(token.hf, nullptr);
  v.image_token = static_cast<std::int32_t>(*id);
  return v;
}

}  // namespace

void read_v41(const ConfigReader& r, const ConfigReader& top, Config& c, const std::string& name) {
  r.require(kNoHashLayers);
  c.gate_temp = static_cast<float>(r.find_real(kGateTemp).value_or(1.0));
  c.kv_sources = required_layers(r, c, "kv_source_layer_ids", "kv_source_layers");
  c.index_sources = required_layers(r, c, "index_source_layer_ids", "index_source_layers");
  check_sources(c, name);
  read_candidates(r, c, name);
  read_engram(r, c, c.engram, name);
  read_draft(r, c, name);
  c.vision = read_vision(top, c, name);
}

}  // namespace v4i::model
