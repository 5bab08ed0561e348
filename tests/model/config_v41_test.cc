// V4.1's config.json: both spellings, and a sentence for everything that cannot be.
#include <nlohmann/json.hpp>

#include "lib/model/config.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/v41_config.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;
using nlohmann::json;

namespace {

std::string with(const std::string& path, const std::string& value) {
  return test::edit_json(test::v41_config(), path, value);
}

std::string refused(const std::string& text) {
  return test::refusal([&] { parse_config(text, "config.json"); });
}

}  // namespace

TEST_CASE("the released V4.1 config is the same in both spellings", "[model][config][v41]") {
  const Config c = parse_config(test::v41_config(), "config.json");
  CHECK(c == parse_config(test::v41_reference_config(), "inference/config.json"));
  CHECK(c.model_type == "deepseek_v41");
  CHECK(c.width == 5120);
  CHECK(c.layers == 40);
  CHECK(c.hash_layers == 0);
  CHECK(c.norm_eps == 1e-20f);
  CHECK(c.fp8_block == 32);
  CHECK(c.expert_dtype == ExpertDType::kFp4);
  CHECK(c.ratios.size() == 43);
  CHECK(c.rope_scaling.factor == 16.0);
  CHECK(c.index_sources == std::vector<int>{2, 8, 14, 20, 24, 28, 32, 36});
  CHECK(c.candidate_blocks == 2048);
  CHECK(c.candidate_block_rows == 8);
  CHECK(c.gate_temp == 1.0f);
  CHECK(c.engram.rows == std::vector<std::int64_t>{384006168, 384016682});
  CHECK(c.engram.classes == 99092);
  CHECK(c.engram.pad_token == 2);
  CHECK(c.draft_experts == 128);
  CHECK(c.draft_experts_active == 3);
  CHECK(c.vision.width == 1024);
  CHECK(c.vision.min_pixels == 295936);
  CHECK(c.vision.max_wh_ratio == 0.0);
  CHECK(c.vision.image_token == 129264);
}

TEST_CASE("a V4 config says the same inside text_config", "[model][config]") {
  json flat = json::parse(test::v4_config(test::v4_flash())), nested;
  for (const char* top : {"model_type", "quantization_config", "eos_token_id"}) {
    nested[top] = flat[top];
    flat.erase(top);
  }
  nested["text_config"] = flat;
  CHECK(parse_config(nested.dump(), "c") == parse_config(test::v4_config(test::v4_flash()), "c"));
}

TEST_CASE("what V4.1 may leave out has the documented meaning", "[model][config][v41]") {
  const auto flat = [](const std::string& path, const std::string& value) {
    return parse_config(test::edit_json(test::v41_reference_config(), path, value), "c");
  };
  const auto nested = [](const std::string& path, const std::string& value) {
    return parse_config(with(path, value), "c");
  };
  CHECK(flat("/norm_eps", "").norm_eps == 1e-20f);
  CHECK(flat("/vision_n_layers", "0").vision == VisionConfig{});
  CHECK(flat("/vision_n_layers", "").vision == VisionConfig{});
  CHECK(nested("/vision_config", "").vision == VisionConfig{});
  CHECK(nested("/vision_config/max_wh_ratio", "8").vision.max_wh_ratio == 8.0);
  CHECK(nested("/quantization_config", "").fp8_block == 32);
  CHECK(nested("/text_config/engram_layer_ids", "[]").engram == EngramConfig{});
  CHECK(nested("/text_config/engram_layer_ids", "").engram == EngramConfig{});
  CHECK(nested("/text_config/dspark_n_routed_experts", "").draft_experts == 384);
  CHECK(nested("/text_config/candidate_source_layer_id", "-1").candidate_blocks == 0);
  CHECK(nested("/text_config/gate_temp", "2").gate_temp == 2.0f);
  CHECK(nested("/model_type", "").model_type == "deepseek_v41");
  CHECK(nested("/text_config/model_type", "").model_type == "deepseek_v41");
}

// Where, what instead ("": nothing), and a part of the sentence.
constexpr struct {
  const char *path, *value, *sentence;
} kImpossible[] = {
    {"/text_config", "7", "text_config is 7, expected an object"},
    {"/text_config", "[]", "text_config is a list, expected an object"},
    {"/text_config", "", "vocab_size is missing"},
    {"/vision_config", "true", "vision_config is true, expected an object"},
    {"/text_config/hidden_size", "", "hidden_size (or dim) is missing"},
    {"/hidden_size", "4096", "text_config.hidden_size is 5120 but hidden_size at the top is 4096"},
    {"/text_config/model_type", "\"deepseek_v4_text\"",
     "text_config.model_type is \"deepseek_v4_text\", expected \"deepseek_v41"},
    {"/model_type", "\"deepseek_v42\"", "model_type is \"deepseek_v42\""},
    {"/text_config/num_hash_layers", "3", "num_hash_layers is 3, only 0 is supported"},
    {"/text_config/compress_ratios/5", "129", "compress_ratios is 129"},
    {"/text_config/compress_ratios/5", "1",
     "compress_ratios has 1 for layer 5, expected 2, that of layer 2 whose rows it reads"},
    {"/text_config/compress_ratios/1", "2",
     "compress_ratios has 2 for layer 1, expected 0 before the first layer of "
     "kv_source_layer_ids"},
    {"/text_config/compress_ratios/8", "0",
     "kv_source_layer_ids has layer 8, whose entry in compress_ratios is 0"},
    {"/text_config/compress_ratios/24", "0", "index_source_layer_ids has layer 24, whose entry"},
    {"/text_config/compress_ratios/41", "1", "compress_ratios has 1 for a draft stage"},
    {"/text_config/kv_source_layer_ids", "",
     "kv_source_layer_ids (or kv_source_layers) is missing"},
    {"/text_config/kv_source_layer_ids", "2", "kv_source_layer_ids is 2, expected a list"},
    {"/text_config/kv_source_layer_ids", "[]", "compress_ratios has 2 for layer 2, expected 0"},
    {"/text_config/kv_source_layer_ids", "[2,14,8,20]",
     "kv_source_layer_ids has 8 after 14, expected rising layers"},
    {"/text_config/kv_source_layer_ids", "[2,8,14,20,20]", "has 20 after 20"},
    {"/text_config/kv_source_layer_ids", "[2,8,14,20,40]",
     "kv_source_layer_ids is 40, expected a whole number from 0 to 39"},
    {"/text_config/kv_source_layer_ids", "[2,8,14,20,22]",
     "kv_source_layer_ids has layer 22, expected in index_source_layer_ids too"},
    {"/text_config/kv_source_layer_ids", "[2,8,14,20,28]",
     "candidate_source_layer_id is 20, but layer 28 of index_source_layer_ids selects among the "
     "rows of layer 28, not of 20"},
    {"/text_config/kv_source_layers", "[2]", "kv_source_layer_ids is a list but"},
    {"/text_config/index_source_layer_ids", "", "index_source_layer_ids (or index_source_layers"},
    {"/text_config/index_source_layer_ids", "[2,8,14,\"20\"]", "index_source_layer_ids is \"20\""},
    {"/text_config/candidate_source_layer_id", "21",
     "candidate_source_layer_id is 21, expected a layer of index_source_layer_ids"},
    {"/text_config/candidate_source_layer_id", "40", "candidate_source_layer_id is 40, expected"},
    {"/text_config/candidate_topk_blocks", "", "candidate_topk_blocks is missing"},
    {"/text_config/candidate_topk_blocks", "64",
     "candidate_topk_blocks is 64 with candidate_block_size 8, which may leave 505 rows, "
     "expected at least index_topk 512"},
    {"/text_config/candidate_block_size", "0", "candidate_block_size is 0, expected"},
    {"/text_config/engram_layer_ids", "[14,1]", "engram_layer_ids has 1 after 14"},
    {"/text_config/engram_layer_ids", "[1]",
     "engram_num_embeddings has 2 entries, expected 1, one for each of engram_layer_ids"},
    {"/text_config/engram_num_embeddings", "", "engram_num_embeddings is missing"},
    {"/text_config/engram_num_embeddings/0", "2147483648", "engram_num_embeddings is 2147483648"},
    {"/text_config/engram_max_ngram_size", "1", "engram_max_ngram_size is 1, expected"},
    {"/text_config/engram_head_dim", "250", "engram_head_dim is 250, expected a multiple of 32"},
    {"/text_config/engram_compressed_vocab_size", "129281", "expected at most vocab_size 129280"},
    {"/text_config/engram_pad_token_id", "", "engram_pad_token_id (or engram_pad_id) is missing"},
    {"/text_config/engram_pad_id", "3", "engram_pad_token_id is 2 but engram_pad_id is 3"},
    {"/text_config/dspark_num_experts_per_tok", "65", "dspark_num_experts_per_tok is 65"},
    {"/text_config/dspark_n_routed_experts", "2",
     "dspark_num_experts_per_tok is 3, expected at most dspark_n_routed_experts 2"},
    {"/text_config/dspark_target_layer_ids", "[40]", "dspark_target_layer_ids is 40"},
    {"/text_config/gate_temp", "0", "gate_temp is 0, expected"},
    {"/vision_config/num_hidden_layers", "", "vision_config.num_hidden_layers is missing"},
    {"/vision_config/hidden_size", "1025", "the image tower is 1025 wide, expected a multiple"},
    {"/vision_config/patch_size", "0", "vision_config.patch_size is 0, expected"},
    {"/vision_config/rope_theta", "", "vision_config.rope_theta is missing"},
    {"/vision_config/max_wh_ratio", "\"x\"", "vision_config.max_wh_ratio is \"x\""},
    {"/image_token_id", "", "image_token_id is missing"},
    {"/image_token_id", "129280", "image_token_id is 129280, expected"},
    {"/quantization_config/weight_block_size", "[32,64]", "weight_block_size is not a square"},
    {"/quantization_config/expert_dtype", "\"int4\"", "expert_dtype is \"int4\""},
};

TEST_CASE("every impossible V4.1 config is refused with key, found and wanted",
          "[model][config][v41]") {
  for (const auto& r : kImpossible) {
    CAPTURE(r.path, r.value);
    CHECK_THAT(refused(with(r.path, r.value)), Catch::Contains(r.sentence));
    CHECK_THAT(refused(with(r.path, r.value)), Catch::StartsWith("config.json: "));
  }
}
