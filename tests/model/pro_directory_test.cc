// The directory of the real V4-Pro: 145,116 tensors in 64 shards, as sparse files.
#include <chrono>
#include <filesystem>
#include <iostream>

#include "lib/model/model.h"
#include "lib/model/parts.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;
using Shape = std::vector<std::int64_t>;

namespace {

template <class Open>
auto timed(const char* what, Open open) {
  const auto begin = std::chrono::steady_clock::now();
  auto opened = open();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::cout << what << " of V4-Pro's directory: " << took.count() << " s\n";
  return opened;
}

void check_directory(const loader::Checkpoint& c) {
  CHECK(c.tensors().size() == 145'116);
  CHECK(c.tensor_bytes() == 864'704'792'696u);
  CHECK(c.shard_count() == 64);
  const auto find = [&](const char* name) -> const loader::TensorInfo& {
    CAPTURE(name);
    REQUIRE(c.find(name) >= 0);
    return c.tensors()[static_cast<std::size_t>(c.find(name))];
  };
  const auto shard = [&](const char* name) {
    return std::filesystem::path(c.shard_path(find(name))).filename().string();
  };
  CHECK(shard("embed.weight") == "model-00001-of-00064.safetensors");
  CHECK(shard("layers.60.attn.wkv.weight") == "model-00062-of-00064.safetensors");
  CHECK(shard("head.weight") == "model-00063-of-00064.safetensors");
  CHECK(shard("mtp.0.e_proj.weight") == "model-00064-of-00064.safetensors");
  const auto& last = find("layers.60.ffn.experts.383.w2.weight");
  CHECK(last.shape == Shape{7168, 1536});
  CHECK(*(c.view(last).data + (last.end - last.begin) - 1) == std::byte{0});  // mapped
}

void check_plan(const Plan& plan) {
  REQUIRE(plan.layers.size() == 61);
  for (std::size_t i = 0; i < 61; ++i) {
    CAPTURE(i);
    const LayerPlan& layer = plan.layers[i];
    const bool csa = i >= 2 && i % 2 == 0;
    CHECK(layer.attention == (csa ? AttentionKind::kCsa : AttentionKind::kHca));
    CHECK(layer.ratio == (csa ? 4 : 128));
    CHECK(layer.indexer == csa);
    CHECK(layer.yarn_rope);
    CHECK(layer.router == (i < 3 ? RouterKind::kHash : RouterKind::kScore));
  }
  CHECK(plan.draft_stages == 1);
  CHECK(plan.draft.attention == AttentionKind::kWindow);
}

void check_shape(const Weight& l, std::int64_t rows, std::int64_t cols, WeightFormat format) {
  REQUIRE(l.present());
  CHECK(l.rows == rows);
  CHECK(l.cols == cols);
  CHECK(l.format == format);
}

void check_attention(const Attention& a) {
  CHECK(a.sink.size() == 128);
  check_shape(a.wq_a, 1536, 7168, WeightFormat::kFp8);
  check_shape(a.wq_b, 128 * 512, 1536, WeightFormat::kFp8);
  check_shape(a.wkv, 512, 7168, WeightFormat::kFp8);
  check_shape(a.wo_a, 16 * 1024, 8 * 512, WeightFormat::kFp8);
  check_shape(a.wo_b, 7168, 16 * 1024, WeightFormat::kFp8);
}

void check_weights(const Weights& w) {
  check_shape(w.embed, 129280, 7168, WeightFormat::kBF16);
  check_shape(w.head, 129280, 7168, WeightFormat::kBF16);
  REQUIRE(w.layers.size() == 61);
  for (const Block& b : w.layers) {
    check_attention(b.attn);
    check_shape(b.hc_ffn.fn, 24, 4 * 7168, WeightFormat::kF32);
    check_shape(b.ffn.gate, 384, 7168, WeightFormat::kBF16);
    check_shape(b.ffn.shared.w2, 7168, 3072, WeightFormat::kFp8);
    REQUIRE(b.ffn.experts.size() == 384);
    check_shape(b.ffn.experts[383].w1, 3072, 7168, WeightFormat::kFp4);
    check_shape(b.ffn.experts[383].w2, 7168, 3072, WeightFormat::kFp4);
  }
  CHECK(w.layers[2].ffn.tid2eid.size() == 129280 * 6);
  CHECK(w.layers[3].ffn.bias.size() == 384);
  check_shape(w.layers[1].attn.compressor.wkv, 512, 7168, WeightFormat::kBF16);
  check_shape(w.layers[60].attn.compressor.wkv, 2 * 512, 7168, WeightFormat::kBF16);
  check_shape(w.layers[60].attn.indexer.wq_b, 64 * 128, 1536, WeightFormat::kFp8);
  CHECK_FALSE(w.layers[59].attn.indexer.wq_b.present());
  REQUIRE(w.mtp.size() == 1);
  check_shape(w.mtp[0].e_proj, 7168, 7168, WeightFormat::kFp8);
}

}  // namespace

TEST_CASE("the V4-Pro directory opens as a model of 1,598.8 billion parameters", "[model]") {
  const test::TempDir d;
  test::write_sparse_checkpoint(d.path(), test::v4_pro());
  timed("Checkpoint::open", [&] { return loader::Checkpoint::open(d.path()); });
  const auto m = timed("Model::open", [&] { return Model::open(d.path()); });
  check_directory(m->checkpoint());
  check_plan(m->plan());
  check_weights(m->weights());
  CHECK(m->config().index_topk == 1024);
  CHECK(m->config().route_scale == 2.5f);
  CHECK(m->parameters() / 100'000'000 == 15988);
  const Cost expert = expert_cost(*m);
  CHECK(expert.bytes == 35'094'528u);
  const auto costs = token_costs(*m);
  CHECK(costs[Part::kRouted].bytes == 61 * 6 * expert.bytes);
  std::uint64_t bytes = 0;
  for (const Cost& c : costs.values) bytes += c.bytes;
  CHECK(static_cast<double>(bytes) / 1e9 == Approx(39.7).margin(0.05));  // a token reads
}
