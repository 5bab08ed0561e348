// A token's result does not depend on chunk, company or threads: bit for bit.
#include <cmath>
#include <cstring>
#include <filesystem>

#include "kernels/formats.h"
#include "tests/forward/rig.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using forward::Numerics;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The tiny model with some numbers for a matrix, in BF16 or F32.
void write_retyped(const std::string& from, const std::string& to, const std::string& name,
                   const std::string& dtype) {
  test::StFile file = test::read_safetensors(from + "/model.safetensors");
  test::StTensor& t = file.at(name + ".weight");
  t.dtype = dtype;
  t.bytes.clear();
  for (std::int64_t i = 0; i < t.shape[0] * t.shape[1]; ++i) {
    const float x = static_cast<float>(i * 37 % 61 - 30) / 512;
    const std::uint16_t word = kernels::encode_bf16(x);
    t.bytes.append(
        dtype == "F32" ? reinterpret_cast<const char*>(&x) : reinterpret_cast<const char*>(&word),
        dtype == "F32" ? sizeof x : sizeof word);
  }
  file.erase(name + ".scale");
  test::write_safetensors(to + "/model.safetensors", file);
  std::filesystem::copy_file(from + "/config.json", to + "/config.json");
}

}  // namespace

TEST_CASE("matrices side by side may have formats of their own", "[forward][bits]") {
  const test::Golden golden(1);
  auto ids = test::read_ids(golden.model());
  ids.resize(50);
  for (const char* name : {"layers.1.ffn.shared_experts.w2", "layers.1.ffn.shared_experts.w3",
                           "layers.1.attn.compressor.wgate"})
    for (const char* dtype : {"F32", "BF16"}) {
      const test::TempDir dir;
      write_retyped(golden.model(), dir.path(), name, dtype);
      for (Numerics numerics : test::modes()) {
        test::Rig rig(dir.path(), numerics, 2);
        CAPTURE(name, dtype, static_cast<int>(numerics));
        CHECK(same_bits(rig.logits(ids, 50), rig.logits(ids, 5)));
      }
    }
}

TEST_CASE("logits have the same bits for every chunk size and thread count", "[forward][bits]") {
  const test::Golden golden(1);
  const auto ids = test::read_ids(golden.model());
  for (Numerics numerics : test::modes()) {
    test::Rig one(golden.model(), numerics, 1);
    const auto want = one.logits(ids, 300);
    for (int threads : {1, 2, 3}) {
      test::Rig rig(golden.model(), numerics, threads);
      for (int chunk : {1, 3, 64, 300}) {
        if (threads == 3 && chunk < 64) continue;  // more threads than cores: slow
        if (threads == 2 && chunk == 1 && numerics == Numerics::kExact) continue;
        CAPTURE(static_cast<int>(numerics), threads, chunk);
        CHECK(same_bits(rig.logits(ids, chunk), want));
      }
    }
  }
}

TEST_CASE("under every kernel table bits depend neither on chunks nor on threads",
          "[forward][bits]") {
  const test::Golden golden(1);
  auto ids = test::read_ids(golden.model());
  ids.resize(150);  // enough for selected rows and for a row of 128 tokens
  for (const char* name : test::kernel_names()) {
    for (Numerics numerics : test::modes(name)) {
      if (numerics == Numerics::kExact) continue;
      DYNAMIC_SECTION(name << " " << static_cast<int>(numerics)) {
        test::Rig one(golden.model(), numerics, 1, 300, name);
        test::Rig two(golden.model(), numerics, 2, 300, name);
        CHECK(same_bits(two.logits(ids, 13), one.logits(ids, 150)));
      }
    }
  }
}

TEST_CASE("a session in a batch with three others has the bits it has alone", "[forward][bits]") {
  const test::Golden golden(2);
  const auto ids = test::read_ids(golden.model());
  const Numerics numerics = test::modes().back();  // the last: fast where it runs
  test::Rig rig(golden.model(), numerics, 2);
  const auto v = static_cast<std::size_t>(rig.vocab());
  // Four sequences: the ids from four offsets, fed in chunks of different sizes.
  const std::size_t sizes[4] = {1, 7, 30, 50};
  std::vector<std::vector<std::int32_t>> seq;
  std::vector<std::vector<float>> want, got;
  std::vector<kv::State> states;
  for (std::size_t i = 0; i < 4; ++i) {
    seq.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(20 * i),
                     ids.begin() + static_cast<std::ptrdiff_t>(20 * i + 4 * sizes[i]));
    want.push_back(rig.logits(seq[i], 300));
    got.emplace_back(seq[i].size() * v);
    states.push_back(rig.state());
  }
  for (std::size_t step = 0; step < 4; ++step) {
    std::vector<forward::Item> items;
    for (std::size_t i = 0; i < 4; ++i)
      items.push_back({&states[i],
                       {seq[i].data() + step * sizes[i], sizes[i]},
                       got[i].data() + step * sizes[i] * v,
                       true});
    rig.forward->run(items, nullptr);
  }
  for (std::size_t i = 0; i < 4; ++i) CHECK(same_bits(got[i], want[i]));
}

TEST_CASE("fast is native within its rounding, and refused where kernels cannot", "[forward]") {
  const test::Golden golden(1);
  auto ids = test::read_ids(golden.model());
  ids.resize(100);  // the scalar kernels are slow
  for (const char* name : test::kernel_names()) {
    CAPTURE(name);
    if (test::modes(name).back() != Numerics::kFast) {
      CHECK_THROWS_AS(test::Rig(golden.model(), Numerics::kFast, 1, 300, name), Error);
      continue;
    }
    test::Rig exact(golden.model(), Numerics::kExact, 2, 300, name);
    test::Rig native(golden.model(), Numerics::kNative, 2, 300, name);
    test::Rig fast(golden.model(), Numerics::kFast, 2, 300, name);
    const auto want = exact.logits(ids, 300), n = native.logits(ids, 300),
               f = fast.logits(ids, 300);
    const auto distance = [&](const std::vector<float>& got) {
      double sum = 0;
      for (std::size_t i = 0; i < want.size(); ++i) sum += std::pow(double(got[i]) - want[i], 2);
      return std::sqrt(sum);
    };
    CAPTURE(distance(n), distance(f));
    CHECK(!same_bits(n, f));
    CHECK(distance(f) > 0);
    CHECK(distance(f) < 1.1 * distance(n));
  }
}

TEST_CASE("a cancelled run leaves the state as it was", "[forward][cancel]") {
  const test::Golden golden(0);
  const auto ids = test::read_ids(golden.model());
  test::Rig rig(golden.model(), Numerics::kNative, 2);
  const auto v = static_cast<std::size_t>(rig.vocab());
  const auto want = rig.logits(ids, 300);
  kv::State s = rig.state();
  std::vector<float> got(ids.size() * v);
  CancelFlag cancel;
  cancel.signal();
  for (std::size_t at = 0; at < ids.size(); at += 60) {
    const forward::Item item{&s, {ids.data() + at, 60}, got.data() + at * v, true};
    CHECK_THROWS_AS(rig.forward->run({&item, 1}, &cancel), Error);
    CHECK(s.length() == static_cast<std::int64_t>(at));
    rig.forward->run({&item, 1}, nullptr);
  }
  CHECK(same_bits(got, want));
}

TEST_CASE("a token id outside the vocabulary is refused and changes nothing", "[forward]") {
  const test::Golden golden(0);
  test::Rig rig(golden.model(), Numerics::kNative);
  kv::State s = rig.state();
  for (std::int32_t id : {-1, 512, 1 << 30}) {
    const forward::Item item{&s, {&id, 1}};
    CHECK_THROWS_AS(rig.forward->run({&item, 1}, nullptr), Error);
    CHECK(s.length() == 0);
  }
}
