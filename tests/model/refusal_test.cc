// What a checkpoint must not be: every mismatch is refused with shard, tensor, found
// and wanted; codes that are not numbers are refused at open or at first touch.
#include "tests/support/refusal.h"

#include <functional>
#include <string_view>

#include "lib/base/thread_pool.h"
#include "lib/model/model.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;
using test::StFile;
using test::TempDir;

namespace {

// A small model in memory that each case damages.
class Patient {
 public:
  explicit Patient(test::V4Shape shape = test::odd_shape()) {
    test::write_random_checkpoint(dir_.path(), shape, 7);
    file_ = test::read_safetensors(dir_.file("model.safetensors"));
  }
  test::StTensor& operator[](const std::string& name) { return file_.at(name); }
  StFile& file() { return file_; }
  const std::string& path() const { return dir_.path(); }
  std::shared_ptr<const Model> open() {
    test::write_safetensors(dir_.file("model.safetensors"), file_);
    return Model::open(dir_.path());
  }
  std::string refusal() {
    return test::refusal([&] { open(); });
  }
  Code code() {
    return test::refusal_code([&] { open(); });
  }

 private:
  TempDir dir_;
  StFile file_;
};

void put(test::StTensor& t, std::size_t at, const void* bytes, std::size_t n) {
  t.bytes.replace(at, n, static_cast<const char*>(bytes), n);
}

}  // namespace

TEST_CASE("an undamaged patient opens", "[model][refusal]") {
  Patient p;
  CHECK(p.refusal() == "accepted");
}

TEST_CASE("a missing tensor is named with what it should be", "[model][refusal]") {
  const char* rows[][2] = {
      {"embed.weight", "tensor embed.weight is missing, expected BF16 or F32 [37, 160]"},
      {"norm.weight", "tensor norm.weight is missing, expected F32 or BF16 or F16 [160]"},
      {"layers.1.attn.wkv.weight",
       "tensor layers.1.attn.wkv.weight is missing, expected F8_E4M3 [36, 160]"},
      {"layers.1.attn.wkv.scale",
       "tensor layers.1.attn.wkv.scale is missing, expected F8_E8M0 [1, 2]"},
      {"layers.0.ffn.gate.tid2eid", "tensor layers.0.ffn.gate.tid2eid is missing, expected I64"},
      {"layers.0.ffn.experts.0.w1.weight", "layers.0.ffn.experts.0.w1.weight is missing"},
      {"layers.1.ffn.experts.4.w2.weight",
       "tensor layers.1.ffn.experts.4.w2.weight is missing, expected I8 [160, 48]"},
      {"layers.0.attn.indexer.compressor.ape",
       "tensor layers.0.attn.indexer.compressor.ape is missing"},
      {"mtp.0.attn_norm.weight", "tensor mtp.0.attn_norm.weight is missing"},
      {"mtp.0.hc_head_fn", "tensor mtp.0.hc_head_fn is missing, expected BF16 or F32 [3, 480]"},
  };
  for (const auto& r : rows) {
    Patient p;
    REQUIRE(p.file().erase(r[0]) == 1);
    CHECK_THAT(p.refusal(), Catch::Contains(r[1]));
  }
}

TEST_CASE("every matrix and vector of a wrong shape is refused by name", "[model][refusal]") {
  Patient p;
  for (const auto& [name, t] : StFile(p.file())) {
    if (t.shape.size() == 2 && t.shape[0] == t.shape[1]) continue;  // transposed is the same
    CAPTURE(name);
    test::StTensor changed = t;
    if (t.shape.size() == 2)
      std::swap(changed.shape[0], changed.shape[1]);
    else
      changed.shape = {1, t.shape[0]};
    p[name] = changed;
    CHECK_THAT(p.refusal(), Catch::Contains("model.safetensors: tensor " + name + " is "));
    CHECK_THAT(p.refusal(), Catch::Contains(", expected "));
    p[name] = t;
  }
  CHECK(p.refusal() == "accepted");
}

TEST_CASE("a wrong dtype is refused with found and wanted", "[model][refusal]") {
  const struct {
    const char *name, *dtype, *sentence;
    Code code;
  } rows[] = {
      {"layers.1.attn.wkv.weight", "I8", "is I8 [36, 160], expected F8_E4M3, BF16 or F32",
       Code::kFormat},
      {"layers.1.attn.wkv.scale", "I8", "is I8 [1, 2], expected F8_E8M0 [1, 2]", Code::kFormat},
      {"layers.1.ffn.experts.2.w1.weight", "F8_E4M3", "is F8_E4M3 [96, 80], expected I8 [96, 80]",
       Code::kFormat},
      {"layers.0.ffn.experts.0.w1.weight", "F8_E4M3",
       "is F8_E4M3, but expert_dtype in config.json says fp4", Code::kFormat},
      {"embed.weight", "F16", "is F16 [37, 160], expected BF16 or F32", Code::kUnsupported},
      {"layers.1.ffn.gate.bias", "I32", "is I32 [5], expected F32 or BF16 or F16", Code::kFormat},
      {"layers.0.attn.attn_sink", "I32", "is I32 [6]", Code::kFormat},
  };
  for (const auto& r : rows) {
    CAPTURE(r.name);
    Patient p;
    p[r.name].dtype = r.dtype;
    CHECK_THAT(p.refusal(), Catch::Contains(r.sentence));
    CHECK(p.code() == r.code);
  }
}

TEST_CASE("a config that leaves tensors without a place is refused", "[model][refusal]") {
  const char* rows[][3] = {
      {"n_routed_experts", "4", "tensor"},
      {"n_shared_experts", "0", "shared_experts"},
      {"compress_ratios", "[0,128,0]", "tensor layers.0.attn.compressor."},
      {"compress_ratios", "[4,128]", "1 draft stages (mtp.N), but compress_ratios"},
      {"num_hash_layers", "2", "tensor layers.1.ffn.gate.tid2eid is missing"},
      {"head_dim", "32", "expected"},
      {"vocab_size", "38", "tensor embed.weight is BF16 [37, 160], expected BF16 or F32 [38, 160]"},
  };
  for (const auto& r : rows) {
    CAPTURE(r[0], r[1]);
    Patient p;
    test::edit_config(p.path(), r[0], r[1]);
    CHECK_THAT(p.refusal(), Catch::Contains(r[2]));
  }
}

TEST_CASE("a config with fewer layers than the tensors is refused", "[model][refusal]") {
  Patient p;
  test::edit_config(p.path(), "num_hidden_layers", "1");
  CHECK_THAT(p.refusal(), Catch::Contains("compress_ratios has 128 for a draft stage"));
  test::edit_config(p.path(), "compress_ratios", "[4,0]");
  CHECK_THAT(p.refusal(), Catch::Contains("tensor layers.1.attn.attn_sink F32 [6] has no place in "
                                          "the model that config.json describes"));
}

TEST_CASE("tensors of other parts and private draft embeddings are let be", "[model][refusal]") {
  Patient p;
  p.file()["vision.patch.weight"] = {"I8", {2}, "ab"};
  p.file()["mtp.0.emb.tok_emb.weight"] = {"I8", {2}, "ab"};
  p.file()["mtp.0.head.weight"] = {"I8", {2}, "ab"};
  CHECK(p.refusal() == "accepted");
  p.file()["layers.0.attn.extra"] = {"I8", {2}, "ab"};
  CHECK_THAT(p.refusal(), Catch::Contains("tensor layers.0.attn.extra I8 [2] has no place"));
}

TEST_CASE("an expert id out of range names layer, token and value", "[model][refusal]") {
  for (const std::int64_t bad : {std::int64_t{5}, std::int64_t{-1}, INT64_MAX}) {
    Patient p;
    put(p["layers.0.ffn.gate.tid2eid"], (11 * 2 + 1) * 8, &bad, 8);
    CHECK_THAT(p.refusal(),
               Catch::Contains("model.safetensors: tensor layers.0.ffn.gate.tid2eid: token 11, "
                               "entry 1 is expert " +
                               std::to_string(bad) + ", expected 0 to 4"));
  }
}

TEST_CASE("a small tensor with NaN or infinity is refused at open", "[model][refusal]") {
  Patient p;
  const std::uint32_t inf = 0xff800000;
  put(p["layers.1.attn.attn_sink"], 4 * 4, &inf, 4);
  CHECK_THAT(p.refusal(), Catch::Contains("tensor layers.1.attn.attn_sink: element 4 is -inf"));
  Patient q;
  const std::uint16_t nan = 0x7fc0;
  put(q["layers.0.attn_norm.weight"], 159 * 2, &nan, 2);
  CHECK_THAT(q.refusal(), Catch::Contains("tensor layers.0.attn_norm.weight: element 159 is nan"));
  Patient r;
  r["layers.0.ffn.shared_experts.w1.scale"].bytes[1] = '\xff';
  CHECK_THAT(r.refusal(), Catch::Contains("tensor layers.0.ffn.shared_experts.w1.scale: element 1 "
                                          "is 0xff, which is NaN"));
}

TEST_CASE("fp16 vectors are read like the others", "[model]") {
  Patient p;
  test::StTensor& bias = p["layers.1.ffn.gate.bias"];
  const std::uint16_t half[5] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000};
  bias = {"F16", {5}, std::string(reinterpret_cast<const char*>(half), 10)};
  const auto m = p.open();
  CHECK(m->weights().layers[1].ffn.bias == Vector{1.0f, -2.0f, 0x1p-24f, 65504.0f, -0.0f});
  const std::uint16_t inf = 0x7c00;
  put(bias, 2, &inf, 2);
  CHECK_THAT(p.refusal(), Catch::Contains("element 1 is inf"));
}

TEST_CASE("a code that is no number is refused at first touch, wherever it lies",
          "[model][refusal]") {
  const std::int32_t third[] = {3};
  using Touch = std::function<void(const Model&, ThreadPool&)>;
  const Touch layer = [](const Model& m, ThreadPool& p) { m.touch_layer(1, p); };
  const Touch expert = [&](const Model& m, ThreadPool& p) { m.touch_experts(1, third, 1, p); };
  const Touch head = [](const Model& m, ThreadPool& p) { m.touch_head(p); };
  const Touch mtp = [](const Model& m, ThreadPool& p) { m.touch_mtp(p); };
  const Touch draft = [&](const Model& m, ThreadPool& p) { m.touch_mtp_experts(third, 1, p); };
  const Touch embed = [&](const Model& m, ThreadPool&) { m.touch_embedding(third, 1); };
  const struct {
    const char* name;
    std::size_t element;
    std::string code;
    const char* printed;
    Touch touch;
  } rows[] = {
      {"layers.1.attn.wq_b.weight", 216 * 50 - 1, "\x7f", "0x7f", layer},
      {"layers.1.attn.wo_a.weight", 0, "\xff", "0xff", layer},
      {"layers.1.attn.compressor.wkv.weight", 33, std::string("\x80\x7f", 2), "0x7f80", layer},
      {"layers.1.ffn.gate.weight", 5 * 160 - 1, std::string("\x81\xff", 2), "0xff81", layer},
      {"layers.1.hc_ffn_fn", 7, std::string("\0\0\x80\x7f", 4), "0x7f800000", layer},
      {"layers.1.ffn.shared_experts.w2.weight", 500, "\x7f", "0x7f", layer},
      {"layers.1.ffn.experts.3.w2.scale", 160 * 3 - 1, "\xff", "0xff", expert},
      {"layers.1.ffn.experts.3.w1.scale", 0, "\xff", "0xff", expert},
      {"head.weight", 36 * 160 + 159, std::string("\xff\xff", 2), "0xffff", head},
      {"hc_head_fn", 1, std::string("\x01\0\x80\xff", 4), "0xff800001", head},
      {"mtp.0.e_proj.weight", 999, "\x7f", "0x7f", mtp},
      {"mtp.0.attn.wkv.weight", 1, "\xff", "0xff", mtp},
      {"mtp.0.ffn.experts.3.w3.scale", 2, "\xff", "0xff", draft},
      {"embed.weight", 3 * 160 + 5, std::string("\xc0\x7f", 2), "0x7fc0", embed},
  };
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    for (const auto& r : rows) {
      CAPTURE(r.name, threads);
      Patient p;
      put(p[r.name], r.element * r.code.size(), r.code.data(), r.code.size());
      const auto m = p.open();
      const std::string wanted = std::string("model.safetensors: tensor ") + r.name + ": element " +
                                 std::to_string(r.element) + " is " + r.printed + ", which";
      for (int again = 0; again < 2; ++again)  // a refusal is not forgotten
        CHECK_THAT(test::refusal([&] { r.touch(*m, pool); }), Catch::Contains(wanted));
      const std::int32_t others[] = {0, 4};
      m->touch_layer(0, pool);
      const bool shared = std::string_view(r.name).find("shared") != std::string_view::npos;
      m->touch_experts(shared ? 0 : 1, others, 2, pool);
    }
  }
}

TEST_CASE("every e4m3 and e8m0 byte but the NaN codes is accepted", "[model][refusal]") {
  ThreadPool pool(1);
  Patient p;
  test::StTensor& w = p["layers.0.attn.wq_b.weight"];
  for (int code = 0; code < 256; ++code) {
    w.bytes[1000] = static_cast<char>(code);
    const auto m = p.open();
    const std::string got = test::refusal([&] { m->touch_layer(0, pool); });
    CHECK((got == "accepted") == ((code & 0x7f) != 0x7f));
  }
  w.bytes[1000] = 0;
  test::StTensor& s = p["layers.0.ffn.experts.1.w3.scale"];
  const std::int32_t one[] = {1};
  for (int code = 0; code < 256; ++code) {
    s.bytes[77] = static_cast<char>(code);
    const auto m = p.open();
    const std::string got = test::refusal([&] { m->touch_experts(0, one, 1, pool); });
    CHECK((got == "accepted") == (code != 0xff));
  }
}

TEST_CASE("the first bad element is named whatever the thread count", "[model][refusal]") {
  test::V4Shape shape = test::odd_shape();
  shape.vocab = 20000;  // head of 6.4 MB: several units of work
  Patient p(shape);
  const std::uint16_t nan = 0x7fc1;
  for (const std::size_t at : {2'999'999u, 1'500'001u, 700'003u}) {
    put(p["head.weight"], at * 2, &nan, 2);
    const auto m = p.open();
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      CHECK_THAT(test::refusal([&] { m->touch_head(pool); }),
                 Catch::Contains("element " + std::to_string(at) + " is 0x7fc1"));
    }
  }
}
