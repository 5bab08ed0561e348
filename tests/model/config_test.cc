// parse_config: both spellings, and a sentence for everything that cannot be.
#include "lib/model/config.h"

#include <nlohmann/json.hpp>

#include "lib/model/plan.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;
using nlohmann::json;

static std::string with(const std::string& key, const std::string& value) {
  json c = json::parse(test::v4_config(test::v4_flash()));
  c.erase(key);
  if (!value.empty()) c[key] = json::parse(value);
  return c.dump();
}

static std::string refused(const std::string& text) {
  return test::refusal([&] { parse_config(text, "config.json"); });
}

TEST_CASE("the config of V4-Flash is read under the Hugging Face names", "[model][config]") {
  const Config c = parse_config(test::v4_config(test::v4_flash()), "config.json");
  CHECK(c.model_type == "deepseek_v4");
  CHECK(c.vocab == 129280);
  CHECK(c.width == 4096);
  CHECK(c.layers == 43);
  CHECK(c.hash_layers == 3);
  CHECK(c.ratios.size() == 44);
  CHECK(c.rope_theta == 10000.0);
  CHECK(c.compress_rope_theta == 160000.0);
  CHECK(c.rope_scaling.factor == 16.0);
  CHECK(c.rope_scaling.original_positions == 65536);
  CHECK(c.max_positions == 1048576);
  CHECK(c.experts_active == 6);
  CHECK(c.route_scale == 1.5f);
  CHECK(c.swiglu_limit == 10.0f);
  CHECK(c.expert_dtype == ExpertDType::kFp4);
  CHECK(c.fp8_block == 128);
}

TEST_CASE("the names of inference/config.json give the same numbers", "[model][config]") {
  json c = json::parse(test::v4_config(test::v4_flash()));
  const char* renamed[][2] = {{"hidden_size", "dim"},
                              {"num_hidden_layers", "n_layers"},
                              {"num_hash_layers", "n_hash_layers"},
                              {"num_attention_heads", "n_heads"},
                              {"qk_rope_head_dim", "rope_head_dim"},
                              {"sliding_window", "window_size"},
                              {"num_experts_per_tok", "n_activated_experts"},
                              {"moe_intermediate_size", "moe_inter_dim"},
                              {"routed_scaling_factor", "route_scale"},
                              {"rms_norm_eps", "norm_eps"},
                              {"scoring_func", "score_func"}};
  for (const auto& r : renamed) {
    c[r[1]] = c[r[0]];
    c.erase(r[0]);
  }
  for (const char* gone : {"model_type", "rope_scaling", "quantization_config",
                           "max_position_embeddings", "hc_eps", "bos_token_id", "eos_token_id"})
    c.erase(gone);
  c.update({{"original_seq_len", 65536}, {"rope_factor", 16}, {"beta_fast", 32}, {"beta_slow", 1}});
  c["dtype"] = "fp8";
  const Config a = parse_config(c.dump(), "inference/config.json");
  const Config b = parse_config(test::v4_config(test::v4_flash()), "config.json");
  CHECK(a.model_type == b.model_type);
  CHECK(a.width == b.width);
  CHECK(a.layers == b.layers);
  CHECK(a.hash_layers == b.hash_layers);
  CHECK(a.heads == b.heads);
  CHECK(a.rope_dim == b.rope_dim);
  CHECK(a.window == b.window);
  CHECK(a.experts_active == b.experts_active);
  CHECK(a.expert_width == b.expert_width);
  CHECK(a.route_scale == b.route_scale);
  CHECK(a.norm_eps == b.norm_eps);
  CHECK(a.hc_eps == b.hc_eps);
  CHECK(a.rope_scaling.factor == b.rope_scaling.factor);
  CHECK(a.rope_scaling.original_positions == b.rope_scaling.original_positions);
  CHECK(a.max_positions == b.max_positions);
  CHECK(a.eos == 1);
}

TEST_CASE("what may be absent or null has the documented meaning", "[model][config]") {
  for (const char* value : {"", "null", R"({"type":"default"})"}) {
    const Config c = parse_config(with("rope_scaling", value), "c");
    CHECK(c.rope_scaling.original_positions == 0);
    CHECK(c.rope_scaling.factor == 1.0);
  }
  CHECK(parse_config(with("rope_scaling", R"({"rope_type":"yarn","factor":4,
      "original_max_position_embeddings":8})"),
                     "c")
            .rope_scaling.beta_fast == 32.0);
  CHECK(parse_config(with("expert_dtype", ""), "c").expert_dtype == ExpertDType::kFromTensors);
  CHECK(parse_config(with("expert_dtype", "\"fp8\""), "c").expert_dtype == ExpertDType::kFp8);
  CHECK(parse_config(with("swiglu_limit", "null"), "c").swiglu_limit == 0.0f);
  CHECK(parse_config(with("eos_token_id", "[5, 6]"), "c").eos == 5);
  CHECK(parse_config(with("quantization_config", R"({"weight_block_size":[32,32]})"), "c")
            .fp8_block == 32);
  CHECK(parse_config(with("hidden_size", "4096"), "c").width == 4096);
  CHECK(parse_config(with("dim", "4096"), "c").width == 4096);  // both spellings, agreeing
}

TEST_CASE("every impossible config is refused with key, found and wanted", "[model][config]") {
  const struct {
    const char *key, *value, *sentence;
  } rows[] = {
      {"vocab_size", "", "vocab_size is missing"},
      {"hidden_size", "", "hidden_size (or dim) is missing"},
      {"hidden_size", "0", "hidden_size is 0, expected a whole number from 1 to 131072"},
      {"hidden_size", "-4", "hidden_size is -4"},
      {"hidden_size", "4096.5", "hidden_size is 4096.5"},
      {"hidden_size", "\"4096\"", "hidden_size is \"4096\""},
      {"hidden_size", "18446744073709551615", "hidden_size is 18446744073709551615"},
      {"hidden_size", "[1]", "hidden_size is a list"},
      {"dim", "512", "hidden_size is 4096 but dim is 512, expected the same"},
      {"num_hidden_layers", "0", "num_hidden_layers is 0"},
      {"num_hidden_layers", "513", "expected a whole number from 1 to 512"},
      {"num_hash_layers", "44", "expected at most num_hidden_layers 43"},
      {"o_groups", "7", "o_groups is 7, expected a divisor of num_attention_heads 64"},
      {"qk_rope_head_dim", "63", "qk_rope_head_dim is 63, expected even"},
      {"qk_rope_head_dim", "514", "at most head_dim 512"},
      {"index_head_dim", "32", "index_head_dim is 32, expected at least qk_rope_head_dim 64"},
      {"num_experts_per_tok", "65", "num_experts_per_tok is 65"},
      {"n_routed_experts", "4", "num_experts_per_tok is 6, expected at most n_routed_experts 4"},
      {"n_shared_experts", "2", "n_shared_experts is 2"},
      {"compress_ratios", "", "compress_ratios is missing"},
      {"compress_ratios", "[0,4]", "compress_ratios has 2 entries, expected 43"},
      {"compress_ratios", "\"x\"", "compress_ratios is \"x\", expected a list"},
      {"compress_ratios", "[0,3]", "compress_ratios has 3, expected 0, 4 or 128"},
      {"rope_theta", "\"x\"", "rope_theta is \"x\", expected a number"},
      {"rope_theta", "0", "rope_theta is 0"},
      {"compress_rope_theta", "", "compress_rope_theta is missing"},
      {"rope_scaling", "3", "rope_scaling is 3, expected an object"},
      {"rope_scaling", R"({"type":"linear","factor":2})", "rope_scaling type is \"linear\""},
      {"rope_scaling", R"({"factor":2})", "rope_scaling type is missing"},
      {"rope_scaling", R"({"type":"yarn"})", "factor (or rope_factor) is missing"},
      {"rms_norm_eps", "-1", "rms_norm_eps is -1"},
      {"hc_sinkhorn_iters", "0", "hc_sinkhorn_iters is 0"},
      {"swiglu_limit", "-1", "swiglu_limit is -1"},
      {"scoring_func", "\"softmax\"", "scoring_func is \"softmax\", only \"sqrtsoftplus\""},
      {"hidden_act", "\"gelu\"", "hidden_act is \"gelu\""},
      {"norm_topk_prob", "false", "norm_topk_prob is false"},
      {"tie_word_embeddings", "true", "tie_word_embeddings is true"},
      {"num_key_value_heads", "8", "num_key_value_heads is 8"},
      {"expert_dtype", "\"int4\"", "expert_dtype is \"int4\", expected \"fp4\" or \"fp8\""},
      {"quantization_config", "1", "quantization_config is 1, expected an object"},
      {"quantization_config", R"({"quant_method":"gptq"})", "quant_method is \"gptq\""},
      {"quantization_config", R"({"scale_fmt":"f32"})", "scale_fmt is \"f32\""},
      {"quantization_config", R"({"weight_block_size":[128,64]})", "weight_block_size"},
      {"quantization_config", R"({"weight_block_size":[0,0]})", "weight_block_size is 0"},
      {"bos_token_id", "129280",
       "bos_token_id is 129280, expected a whole number from 0 to 129279"},
      {"dspark_block_size", "5", "dspark_markov_rank and dspark_target_layer_ids must be there"},
      {"dspark_target_layer_ids", "[43]", "dspark_target_layer_ids is 43"},
      {"dspark_target_layer_ids", "[40, 41, 40]", "dspark_target_layer_ids has layer 40 twice"},
      {"model_type", "\"llama\"", "model_type is \"llama\", expected \"deepseek_v4\""},
      {"model_type", "7", "model_type is 7"},
      {"model_type", "\"deepseek_v41\"", "num_hash_layers is 3, only 0 is supported"},
      {"text_config", "7", "text_config is 7, expected an object"},
  };
  for (const auto& r : rows) {
    CAPTURE(r.key, r.value);
    CHECK_THAT(refused(with(r.key, r.value)), Catch::Contains(r.sentence));
    CHECK_THAT(refused(with(r.key, r.value)), Catch::StartsWith("config.json: "));
  }
}

TEST_CASE("a text that is no config is refused, however deep or long", "[model][config]") {
  for (const char* text : {"", "[]", "3", "{", "{\"a\":}", "\xff\xfe", "nul"})
    CHECK(refused(text) == "config.json: not a JSON object");
  CHECK(refused("{\"a\":" + std::string(100000, '[')) ==
        "config.json: nested deeper than 16 levels");
}

TEST_CASE("another model_type is unsupported, a damaged file is a format error",
          "[model][config]") {
  const auto code = [](const std::string& text) {
    return test::refusal_code([&] { parse_config(text, "c"); });
  };
  CHECK(code(with("model_type", "\"llama\"")) == Code::kUnsupported);
  CHECK(code(with("model_type", "\"deepseek_v41\"")) == Code::kUnsupported);
  CHECK(code(with("hidden_act", "\"gelu\"")) == Code::kUnsupported);
  CHECK(code(with("hidden_size", "0")) == Code::kFormat);
}

TEST_CASE("the plan of V4-Flash is 2 window, 21 CSA and 20 HCA layers", "[model][plan]") {
  const Plan plan = make_plan(parse_config(test::v4_config(test::v4_flash()), "c"));
  int window = 0, csa = 0, hca = 0, hash = 0;
  for (const LayerPlan& p : plan.layers) {
    window += p.attention == AttentionKind::kWindow;
    csa += p.attention == AttentionKind::kCsa;
    hca += p.attention == AttentionKind::kHca;
    hash += p.router == RouterKind::kHash;
    CHECK(p.indexer == (p.ratio == 4));
    CHECK(p.overlap == (p.ratio == 4));
    CHECK(p.yarn_rope == (p.ratio != 0));
    const int self = static_cast<int>(&p - plan.layers.data());
    CHECK(p.main_from == (p.ratio == 0 ? -1 : self));
    CHECK(p.index_from == (p.ratio == 4 ? self : -1));
    CHECK(p.topk_from == p.index_from);
    CHECK(p.candidates_from == -1);
    CHECK(p.ape == (p.ratio != 0));
    CHECK(p.gate == (p.ratio != 0));
    CHECK(p.router_biases == (p.router == RouterKind::kHash ? 0 : 1));
    CHECK(p.window_rows == RowForm::kFp8Rope16);
    CHECK(p.main_rows == RowForm::kFp8Rope16);
  }
  CHECK(first_beyond_v4(plan).empty());
  CHECK(plan.outputs_from == 0);
  CHECK(plan.scale_block == 128);
  CHECK(window == 2);
  CHECK(csa == 21);
  CHECK(hca == 20);
  CHECK(hash == 3);
  CHECK(plan.layers[2].router == RouterKind::kHash);
  CHECK(plan.draft_stages == 1);
  CHECK(plan.draft.attention == AttentionKind::kWindow);
  CHECK(plan.draft.router == RouterKind::kScore);
}
