// Model: checkpoints open under every spelling and layout that is accepted.
#include "lib/model/model.h"

#include <chrono>
#include <cstring>
#include <iostream>

#include "lib/base/thread_pool.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;
using test::StFile;
using test::TempDir;

static void touch_everything(const Model& m) {
  ThreadPool pool(2);
  m.touch_all(pool);
}

TEST_CASE("a tiny V4 checkpoint opens and binds every part", "[model]") {
  const auto m = Model::open(test::make_tiny(0));
  CHECK(m->config().width == 256);
  CHECK(m->plan().draft_stages == 1);
  const Weights& w = m->weights();
  REQUIRE(w.layers.size() == 4);
  CHECK(w.layers[0].ffn.tid2eid.size() == 512 * 2);
  CHECK(w.layers[0].ffn.bias.empty());
  CHECK(w.layers[0].attn.compressor.ape.empty());
  CHECK_FALSE(w.layers[0].attn.indexer.wq_b.present());
  CHECK(w.layers[1].ffn.bias.size() == 8);
  CHECK(w.layers[1].attn.indexer.wq_b.rows == 32 * 128);
  CHECK(w.layers[1].attn.compressor.ape.size() == 4 * 2 * 128);
  CHECK(w.layers[2].attn.compressor.ape.size() == 128 * 128);
  CHECK_FALSE(w.layers[2].attn.indexer.wq_b.present());
  CHECK(w.layers[3].ffn.experts[7].w2.format == WeightFormat::kFp4);
  CHECK(w.layers[3].ffn.experts[7].w2.scale_bytes() == 256 * 128 / 32);
  CHECK(w.layers[3].ffn.shared.w1.format == WeightFormat::kFp8);
  CHECK(w.mtp.size() == 1);
  CHECK(w.dspark.stages.empty());
  touch_everything(*m);
}

TEST_CASE("vectors hold the file's numbers", "[model]") {
  const std::string folder = test::make_tiny(1);
  const StFile file = test::read_safetensors(folder + "/model.safetensors");
  const auto m = Model::open(folder);
  const Vector& sink = m->weights().layers[0].attn.sink;
  CHECK(std::string(reinterpret_cast<const char*>(sink.data()), sink.size() * 4) ==
        file.at("layers.0.attn.attn_sink").bytes);
  const std::string& norm = file.at("norm.weight").bytes;
  REQUIRE(m->weights().norm.size() * 2 == norm.size());
  for (std::size_t i = 0; i < m->weights().norm.size(); ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, &m->weights().norm[i], 4);
    CHECK((bits & 0xffff) == 0);
    CHECK(static_cast<char>(bits >> 16) == norm[2 * i]);
    CHECK(static_cast<char>(bits >> 24) == norm[2 * i + 1]);
  }
  const std::string& ids = file.at("layers.0.ffn.gate.tid2eid").bytes;
  for (std::size_t i = 0; i < ids.size() / 8; ++i)
    CHECK(m->weights().layers[0].ffn.tid2eid[i] == ids[8 * i]);
}

TEST_CASE("a DSpark checkpoint binds its stages and has no MTP block", "[model]") {
  const auto m = Model::open(test::make_tiny(0, 300, true));
  CHECK(m->weights().mtp.empty());
  const Dspark& d = m->weights().dspark;
  CHECK(d.stages.size() == 3);
  CHECK(d.main_proj.cols == 3 * 256);
  CHECK(d.markov_w1.cols == 32);
  CHECK(d.confidence.rows == 1);
  CHECK(m->config().dspark_block_size == 5);
  CHECK(m->config().dspark_noise_token == 511);
  CHECK(m->config().dspark_target_layers == std::vector<int>{1, 2, 3});
  CHECK(m->blocks() == 4 + 3);
  CHECK(&m->block(5) == &d.stages[1]);
  touch_everything(*m);
}

TEST_CASE("a code of a DSpark stage that is no number is refused at first touch", "[model]") {
  for (const char* name : {"mtp.0.main_proj.weight", "mtp.1.attn.wkv.weight",
                           "mtp.2.ffn.experts.3.w2.scale", "mtp.2.markov_head.markov_w2.weight",
                           "mtp.2.confidence_head.proj.weight", "mtp.2.hc_head_fn"}) {
    const TempDir d;
    test::copy_model(test::make_tiny(0, 300, true), d.path());
    StFile file = test::read_safetensors(d.file("model.safetensors"));
    file.at(name).bytes.replace(0, 4, "\xff\xff\xff\xff");
    test::write_safetensors(d.file("model.safetensors"), file);
    const auto m = Model::open(d.path());
    CHECK_THAT(test::refusal([&] { touch_everything(*m); }), Catch::Contains(name));
  }
}

TEST_CASE("prefixed, renamed, sharded and single-file copies are the same model", "[model]") {
  const std::string folder = test::make_tiny(2);
  const auto original = Model::open(folder);
  const StFile file = test::read_safetensors(folder + "/model.safetensors");
  const TempDir d;
  test::write_file(d.file("config.json"), test::read_file(folder + "/config.json"));
  SECTION("names of transformers") {
    StFile renamed;
    for (const auto& [name, t] : file) {
      std::string n = "model." + name;
      const auto swap = [&](const std::string& from, const std::string& to) {
        const std::size_t at = n.find(from);
        if (at != std::string::npos) n.replace(at, from.size(), to);
      };
      swap(".attn.", ".self_attn.");
      swap(".ffn.", ".mlp.");
      swap(".gate.bias", ".gate.e_score_correction_bias");
      swap("model.head.", "lm_head.");
      swap("model.embed.", "model.embed_tokens.");
      if (n.ends_with(".scale")) swap(".scale", ".weight_scale_inv");
      renamed[n] = t;
    }
    test::write_safetensors(d.file("model.safetensors"), renamed);
    CHECK(Model::open(d.path())->digest() == original->digest());
  }
  SECTION("three shards with an index") {
    std::map<std::string, StFile> shards;
    int i = 0;
    for (const auto& [name, t] : file)
      shards["s-" + std::to_string(i++ % 3) + ".safetensors"][name] = t;
    for (const auto& [name, content] : shards) test::write_safetensors(d.file(name), content);
    CHECK(Model::open(d.path())->digest() == original->digest());
    test::write_index(d.path(), shards);
    CHECK(Model::open(d.path())->digest() == original->digest());
  }
  SECTION("one file, opened by its own name") {
    test::write_safetensors(d.file("any.safetensors"), file);
    CHECK(Model::open(d.file("any.safetensors"))->digest() == original->digest());
  }
}

TEST_CASE("the digest changes with a number, a shape, a norm, and between seeds", "[model]") {
  const std::string folder = test::make_tiny(3);
  const Digest original = Model::open(folder)->digest();
  CHECK(Model::open(folder)->digest() == original);
  CHECK(Model::open(test::make_tiny(4))->digest() != original);
  const TempDir d;
  test::copy_model(folder, d.path());
  test::edit_config(d.path(), "swiglu_limit", "7.0");
  CHECK(Model::open(d.path())->digest() != original);
  test::copy_model(folder, d.path());
  StFile file = test::read_safetensors(folder + "/model.safetensors");
  file.at("layers.2.ffn_norm.weight").bytes[0] ^= 1;
  test::write_safetensors(d.file("model.safetensors"), file);
  CHECK(Model::open(d.path())->digest() != original);
}

TEST_CASE("experts may be fp8 or plain, dense matrices plain, sizes anything", "[model]") {
  for (const char* experts : {"fp4", "fp8", "BF16", "F32"})
    for (const char* dense : {"fp8", "BF16", "F32"})
      for (const bool said : {true, false}) {
        CAPTURE(experts, dense, said);
        const TempDir d;
        test::V4Shape s = test::odd_shape();
        s.experts_as = experts;
        s.dense_as = dense;
        test::write_random_checkpoint(d.path(), s, 1);
        if (!said) test::edit_config(d.path(), "expert_dtype", "");
        const auto m = Model::open(d.path());
        const Block& b = m->weights().layers[0];
        CHECK(b.ffn.experts.size() == 5);
        CHECK((b.ffn.experts[4].w1.format == WeightFormat::kFp4) ==
              (experts == std::string("fp4")));
        CHECK((b.ffn.experts[4].w1.format == WeightFormat::kFp8) ==
              (experts == std::string("fp8")));
        CHECK((b.attn.wq_b.format == WeightFormat::kFp8) == (dense == std::string("fp8")));
        CHECK(b.attn.wq_b.rows == 6 * 36);
        CHECK(b.attn.wq_b.scale_bytes() == (dense == std::string("fp8") ? 2u : 0u));
        touch_everything(*m);
      }
}

TEST_CASE("DSpark of an odd shape opens, a backbone without draft too", "[model]") {
  const TempDir d;
  test::V4Shape s = test::odd_shape();
  s.mtp = 0;
  s.dspark = 2;
  test::write_random_checkpoint(d.path(), s, 1);
  CHECK(Model::open(d.path())->weights().dspark.stages.size() == 2);
  s.dspark = 0;
  test::write_random_checkpoint(d.path(), s, 1);
  CHECK(Model::open(d.path())->plan().draft_stages == 0);
  test::edit_config(d.path(), "compress_ratios", "[4,128,0]");  // promised, not delivered
  CHECK(Model::open(d.path())->weights().mtp.empty());
}

TEST_CASE("the V4-Flash directory opens as a model of 290.9 billion parameters", "[model]") {
  const TempDir d;
  test::write_sparse_checkpoint(d.path(), test::v4_flash());
  const auto begin = std::chrono::steady_clock::now();
  const auto m = Model::open(d.path());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::cout << "Model::open of V4-Flash's directory: " << took.count() << " s\n";
  CHECK(m->parameters() / 100'000'000 == 2909);
  CHECK(m->tensor_bytes() == 159'609'485'896u);
  CHECK(m->weights().layers[42].ffn.experts.size() == 256);
}
