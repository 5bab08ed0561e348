// The image tower's tensors: what is taken, what is refused.
#include "lib/model/vision.h"

#include <functional>

#include "lib/loader/checkpoint.h"
#include "lib/model/binder.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v41_config.h"

using namespace v4i;
using namespace v4i::model;
using namespace v4i::test;

namespace {

Config small_config() {
  std::string text = v41_config();
  const std::pair<const char*, const char*> edits[] = {
      {"/vision_config/num_hidden_layers", "2"},   {"/vision_config/hidden_size", "16"},
      {"/vision_config/num_attention_heads", "2"}, {"/vision_config/intermediate_size", "12"},
      {"/vision_config/patch_size", "2"},          {"/text_config/hidden_size", "128"},
  };
  for (const auto& [path, value] : edits) text = edit_json(text, path, value);
  return parse_config(text, "config.json");
}

void add(StFile& f, const std::string& name, std::vector<std::int64_t> shape) {
  std::size_t bytes = 2;
  for (const std::int64_t n : shape) bytes *= static_cast<std::size_t>(n);
  f[name] = {"BF16", std::move(shape), std::string(bytes, '\x3c')};
}

// Names and shapes as the official files have them.
StFile small_tower() {
  StFile f;
  add(f, "vision.patch_embed.proj.weight", {16, 12});
  add(f, "vision.patch_embed.proj.bias", {16});
  for (const char* block : {"vision.blocks.0.", "vision.blocks.1."}) {
    const std::string p = block;
    add(f, p + "norm1.weight", {16});
    add(f, p + "norm2.weight", {16});
    add(f, p + "attn.wqkv.weight", {48, 16});
    add(f, p + "attn.wqkv.bias", {48});
    add(f, p + "attn.wo.weight", {16, 16});
    add(f, p + "attn.wo.bias", {16});
    add(f, p + "mlp.w1.weight", {24, 16});
    add(f, p + "mlp.w2.weight", {16, 12});
  }
  add(f, "vision.norm.weight", {16});
  add(f, "aligner.w1.weight", {128, 144});
  add(f, "aligner.w1.bias", {128});
  add(f, "aligner.w2.weight", {128, 128});
  add(f, "aligner.w2.bias", {128});
  for (const char* name : {"image_start", "image_newline", "image_end"}) add(f, name, {128});
  return f;
}

// Binds a tower after a change; what it refuses with, or "accepted".
std::string bound(const std::function<void(StFile&)>& change, const Config& config) {
  TempDir folder;
  StFile file = small_tower();
  change(file);
  write_safetensors(folder.file("model.safetensors"), file);
  const auto checkpoint = loader::Checkpoint::open(folder.path());
  std::string text = refusal([&] {
    Binder binder(*checkpoint, 32);
    const VisionWeights w = bind_vision(binder, config);
    CHECK(w.present());
    binder.finish();
  });
  const std::size_t at = text.find(folder.path());
  return at == std::string::npos ? text : text.replace(at, folder.path().size(), "FOLDER");
}

}  // namespace

TEST_CASE("a tower is bound with the shapes of its config", "[model][vision]") {
  TempDir folder;
  write_safetensors(folder.file("model.safetensors"), small_tower());
  const auto checkpoint = loader::Checkpoint::open(folder.path());
  Binder binder(*checkpoint, 32);
  const VisionWeights w = bind_vision(binder, small_config());
  REQUIRE(w.layers.size() == 2);
  CHECK(w.patch.w.cols == 12);
  CHECK(w.patch.bias.size() == 16);
  CHECK(w.layers[1].w1.w.rows == 24);
  CHECK(w.layers[1].w1.bias.empty());
  CHECK(w.layers[1].wqkv.bias.size() == 48);
  CHECK(w.align1.w.cols == 144);
  CHECK(w.start.size() == 128);
  CHECK(w.layers[0].wo.w.data != w.layers[1].wo.w.data);
}

TEST_CASE("a config without a tower binds nothing", "[model][vision]") {
  TempDir folder;
  write_safetensors(folder.file("model.safetensors"), small_tower());
  const auto checkpoint = loader::Checkpoint::open(folder.path());
  Config config = small_config();
  config.vision = {};
  Binder binder(*checkpoint, 32);
  CHECK_FALSE(bind_vision(binder, config).present());
  binder.finish();  // tensors of the tower are not the text model's
}

TEST_CASE("towers that do not fit their config are refused with a sentence", "[model][vision]") {
  const Config config = small_config();
  const auto nothing = [](StFile&) {};
  CHECK(bound(nothing, config) == "accepted");
  CHECK(bound([](StFile& f) { f.erase("vision.norm.weight"); }, config) ==
        "FOLDER: tensor vision.norm.weight is missing, expected F32 or BF16 or F16 [16]");
  CHECK(bound(
            [](StFile& f) {
              add(f, "aligner.w1.weight", {128, 143});
            },
            config) ==
        "FOLDER/model.safetensors: tensor aligner.w1.weight is BF16 [128, 143], expected BF16 or "
        "F32 [128, 144]");
  CHECK(bound([](StFile& f) { add(f, "vision.blocks.1.attn.wqkv.bias", {16}); }, config) ==
        "FOLDER/model.safetensors: tensor vision.blocks.1.attn.wqkv.bias is BF16 [16], expected "
        "F32 or BF16 or F16 [48]");
  CHECK(bound([](StFile& f) { add(f, "vision.blocks.2.norm1.weight", {16}); }, config) ==
        "FOLDER: tensors of vision.blocks.2.* exist, but the image tower in config.json has 2 "
        "blocks");
  CHECK(bound([](StFile& f) { f.at("image_end").bytes.replace(10, 2, "\xc0\x7f"); }, config) ==
        "FOLDER/model.safetensors: tensor image_end: element 5 is nan, expected a finite number");
  Config odd = config;
  odd.vision.heads = 8;
  CHECK(bound(nothing, odd) ==
        "FOLDER: the image tower is 16 wide with 8 heads of 2 channels, expected a multiple of 4");
}

TEST_CASE("every tensor of a tower is needed but the biases", "[model][vision]") {
  const Config config = small_config();
  for (const auto& [name, tensor] : small_tower()) {
    CAPTURE(name);
    const std::string text = bound([&, n = name](StFile& f) { f.erase(n); }, config);
    if (name.ends_with(".bias"))
      CHECK(text == "accepted");
    else
      CHECK(text.find(" is missing, expected ") != std::string::npos);
  }
}
