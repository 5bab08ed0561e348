// Names: official spelling, printing, plain file names.
#include "lib/loader/names.h"

#include "tests/support/catch.h"

using namespace v4i::loader;

TEST_CASE("every accepted spelling of a tensor name becomes the official one", "[loader]") {
  const struct {
    const char *written, *official;
  } rows[] = {
      {"layers.3.attn.wq_a.weight", "layers.3.attn.wq_a.weight"},
      {"model.layers.3.self_attn.wq_a.weight_scale_inv", "layers.3.attn.wq_a.scale"},
      {"model.layers.0.mlp.gate.e_score_correction_bias", "layers.0.ffn.gate.bias"},
      {"lm_head.weight", "head.weight"},
      {"model.embed_tokens.weight", "embed.weight"},
      {"model.norm.weight", "norm.weight"},
      {"hc_head_fn", "hc_head_fn"},
      {"model.model.x", "model.x"},            // one prefix only
      {"layers.0.mlpx.y", "layers.0.mlpx.y"},  // whole parts only
      {"", ""},
      {".", "."},
      {"a..b.", "a..b."},
  };
  for (const auto& r : rows) CHECK(normalise_name(r.written) == r.official);
}

TEST_CASE("text from a file is fit for a message", "[loader]") {
  CHECK(printable("layers.0") == "layers.0");
  CHECK(printable("a\nb\x01\xff") == "a?b??");
  CHECK(printable(std::string(500, 'x')) == std::string(120, 'x') + "...");
}

TEST_CASE("only plain file names are plain file names", "[loader]") {
  CHECK(is_plain_file_name("model-00001-of-00046.safetensors"));
  CHECK(is_plain_file_name("..a"));
  for (const char* bad : {"", ".", "..", "/etc/passwd", "../x", "a/b", "a\\b", "a/"})
    CHECK_FALSE(is_plain_file_name(bad));
  CHECK_FALSE(is_plain_file_name(std::string_view("a\0b", 3)));
}
