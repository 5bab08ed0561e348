// Weights are checked when they are first multiplied: what is no number is refused by name.
#include <filesystem>

#include "tests/forward/rig.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using forward::Numerics;

namespace {

struct Bad {
  const char* tensor;
  std::size_t byte;  // of its data
  std::string code;
  const char* said;
};

// The tiny model with some bytes replaced.
void write_damaged(const std::string& from, const std::string& to, const std::vector<Bad>& bad) {
  test::StFile file = test::read_safetensors(from + "/model.safetensors");
  for (const Bad& b : bad) file.at(b.tensor).bytes.replace(b.byte, b.code.size(), b.code);
  test::write_safetensors(to + "/model.safetensors", file);
  std::filesystem::copy_file(from + "/config.json", to + "/config.json");
}

std::string first_run(test::Rig& rig, const std::vector<std::int32_t>& ids) {
  return test::refusal([&] { rig.logits(ids, 64); });
}

}  // namespace

TEST_CASE("a weight that is no number is refused by the run that meets it", "[forward]") {
  const test::Golden golden(1);
  const auto ids = test::read_ids(golden.model());
  const std::string nan = "\x7f", scale = "\xff", bf16("\xc0\x7f", 2), f32("\0\0\x80\x7f", 4);
  const Bad rows[] = {
      {"layers.1.attn.wq_b.weight", 1000, nan, "element 1000 is 0x7f"},
      {"layers.2.attn.wo_a.weight", 77, nan, "element 77 is 0x7f"},
      {"layers.1.attn.compressor.wgate.weight", 66, bf16, "element 33 is 0x7fc0"},
      {"layers.0.ffn.gate.weight", 2, bf16, "element 1 is 0x7fc0"},
      {"layers.3.ffn.shared_experts.w2.weight", 5, nan, "element 5 is 0x7f"},
      {"layers.3.ffn.experts.5.w3.scale", 9, scale, "element 9 is 0xff"},
      {"layers.2.hc_ffn_fn", 28, f32, "element 7 is 0x7f800000"},
      {"hc_head_fn", 4, f32, "element 1 is 0x7f800000"},
      {"head.weight", 512, bf16, "element 256 is 0x7fc0"},
  };
  for (const Bad& bad : rows) {
    CAPTURE(bad.tensor);
    const test::TempDir dir;
    write_damaged(golden.model(), dir.path(), {bad});
    for (const char* kernels : test::kernel_names()) {
      const int threads = kernels == test::kernel_names().front() ? 2 : 1;
      test::Rig rig(dir.path(), Numerics::kNative, threads, 300, kernels);
      CAPTURE(kernels);
      const std::string wanted = std::string("tensor ") + bad.tensor + ": " + bad.said;
      for (int again = 0; again < 2; ++again)  // a refusal is not forgotten
        CHECK_THAT(first_run(rig, ids), Catch::Contains(wanted));
    }
  }
}

TEST_CASE("of two the first is named, for any number of threads", "[forward]") {
  const test::Golden golden(1);
  const auto ids = test::read_ids(golden.model());
  const std::string bf16("\xc0\x7f", 2);
  const test::TempDir dir;
  write_damaged(golden.model(), dir.path(),
                {{"head.weight", 200'000, bf16, ""}, {"head.weight", 50'000, bf16, ""}});
  for (int threads : {1, 2, 3, 5}) {
    test::Rig rig(dir.path(), Numerics::kNative, threads);
    CHECK_THAT(first_run(rig, ids), Catch::Contains("element 25000 is 0x7fc0"));
  }
}
