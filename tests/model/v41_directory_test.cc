// The directory of the real V4.1-Flash: 510 GB, as sparse files.
#include <chrono>
#include <iostream>

#include "lib/model/model.h"
#include "lib/model/parts.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v41_config.h"
#include "tests/support/v41_layout.h"

using namespace v4i;
using namespace v4i::model;

namespace {

void check_shape(const Weight& w, std::int64_t rows, std::int64_t cols, WeightFormat format,
                 int block_rows = 0) {
  REQUIRE(w.present());
  CHECK(w.rows == rows);
  CHECK(w.cols == cols);
  CHECK(w.format == format);
  CHECK(w.block_rows == block_rows);
}

void check_layer(const Block& b, int l) {
  CAPTURE(l);
  const bool owner = l == 2 || l == 8 || l == 14 || l == 20;
  const bool selects = owner || l == 24 || l == 28 || l == 32 || l == 36;
  const Attention& a = b.attn;
  check_shape(a.wq_b, 32768, 1280, WeightFormat::kFp8, 32);
  check_shape(b.hc_attn.fn, 24, 20480, WeightFormat::kF32);
  CHECK(a.compressor.wkv.present() == owner);
  CHECK(a.compressor.wgate.present() == (owner && l != 20));
  CHECK(a.compressor.ape.empty());
  CHECK(a.indexer.wk.present() == owner);
  CHECK(a.indexer.wq_b.present() == selects);
  REQUIRE(b.ffn.experts.size() == 384);
  check_shape(b.ffn.experts[383].w2, 5120, 2304, WeightFormat::kFp4, 1);
  CHECK(b.ffn.bias_media.size() == 384);
  CHECK(b.engram.wkv.present() == (l == 1 || l == 14));
}

void check_weights(const Weights& w) {
  REQUIRE(w.layers.size() == 40);
  for (int l = 0; l < 40; ++l) check_layer(w.layers[static_cast<std::size_t>(l)], l);
  CHECK_FALSE(w.hc_head.fn.present());
  const EngramWeights& e = w.layers[14].engram;
  check_shape(e.wkv, 25600, 6144, WeightFormat::kFp8, 32);
  check_shape(e.table, 384016682, 256, WeightFormat::kFp8, 1);
  CHECK(e.qk.size() == 4 * 5120);
  REQUIRE(w.dspark.stages.size() == 3);
  CHECK(w.dspark.stages[2].ffn.experts.size() == 128);
  check_shape(w.dspark.main_proj, 5120, 15360, WeightFormat::kFp8, 32);
  check_shape(w.dspark.markov_w2, 129280, 256, WeightFormat::kBF16);
}

}  // namespace

TEST_CASE("the V4.1-Flash directory opens as a model of 763.2 billion parameters", "[model][v41]") {
  const test::TempDir d;
  test::write_sparse_checkpoint(d.path(), test::v41_tensors(), test::v41_config());
  for (const std::string& config : {test::v41_config(), test::v41_reference_config()}) {
    test::write_file(d.file("config.json"), config);
    const auto begin = std::chrono::steady_clock::now();
    const auto m = Model::open(d.path());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::cout << "Model::open of V4.1-Flash's directory: " << took.count() << " s\n";
    CHECK(m->tensor_bytes() == 510'286'023'000u);
    CHECK(m->parameters() / 10'000'000 == 76320);
    check_weights(m->weights());
    CHECK(expert_cost(*m).bytes == 18'800'640u);
    const auto costs = token_costs(*m);
    CHECK(costs[Part::kRouted].bytes == std::uint64_t{40} * 6 * 18'800'640u);
  }
}
