// The forward pass against the numpy oracle.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/forward/rig.h"
#include "tests/support/catch.h"

using namespace v4i;
using forward::Numerics;

namespace {

double worst_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - b[i]));
  return worst;
}

std::size_t argmax(const float* x, std::size_t n) {
  return static_cast<std::size_t>(std::max_element(x, x + n) - x);
}

}  // namespace

TEST_CASE("exact logits are within 1e-4 of the oracle at every position", "[forward][parity]") {
  for (int seed = 0; seed < test::seeds(5); ++seed) {
    const test::Golden golden(seed);
    const auto ids = test::read_ids(golden.model());
    const auto want = golden.read("exact_logits");
    test::Rig rig(golden.model(), Numerics::kExact);
    const auto got = rig.logits(ids, 300);
    CAPTURE(seed);
    CHECK(worst_difference(got, want) < 1e-4);
    const auto v = static_cast<std::size_t>(rig.vocab());
    for (std::size_t t = 0; t < ids.size(); ++t)
      REQUIRE(argmax(&got[t * v], v) == argmax(&want[t * v], v));
  }
}

TEST_CASE("every kernel table gives the oracle's exact logits", "[forward][parity]") {
  const test::Golden golden(0);
  auto ids = test::read_ids(golden.model());
  ids.resize(140);
  auto want = golden.read("exact_logits");
  const kernels::KernelTable* tables[8];
  const int count = kernels::available_kernels(tables, 8);
  for (int i = 0; i < count; ++i) {
    DYNAMIC_SECTION(tables[i]->name) {  // -c NAME runs one
      test::Rig rig(golden.model(), Numerics::kExact, 2, 300, tables[i]->name);
      want.resize(ids.size() * static_cast<std::size_t>(rig.vocab()));
      CHECK(worst_difference(rig.logits(ids, 140), want) < 1e-4);
    }
  }
}

// Two summation orders differ in the last bit of a float32; where that decides a
// rounding to bf16, fp8 or fp4, or a top-k swap, a token differs visibly, and later
// tokens that attend to it.  So native is compared layer by layer, each fed with the
// oracle's own input: most tokens are equal bit for bit, half of the layers differ by less than
// 1e-3 in the mean, and a flip in a KV row, which a whole window of tokens then sees, costs less
// than 5e-3 where no row selection amplifies it.
namespace {

struct Native {
  std::size_t equal = 0, tokens = 0;
  std::vector<double> means;

  void compare_layers(int seed) {
    const test::Golden golden(seed);
    auto ids = test::read_ids(golden.model());
    ids.resize(160);
    test::Rig rig(golden.model(), Numerics::kNative);
    for (int layer = 0; layer < 4; ++layer) {
      auto streams = golden.read("native_in_" + std::to_string(layer));
      const auto want = golden.read("native_out_" + std::to_string(layer));
      auto state = rig.state();
      rig.forward->run_layers(layer, layer + 1, state, ids,
                              [&](int l, std::span<float> x, std::span<float>) {
                                if (l == layer)
                                  std::copy(streams.begin(), streams.end(), x.begin());
                                else
                                  streams.assign(x.begin(), x.end());
                              });
      const std::size_t row = streams.size() / ids.size();
      double difference = 0, size = 0;
      for (std::size_t t = 0; t < ids.size(); ++t, ++tokens)
        equal += std::memcmp(&streams[t * row], &want[t * row], row * sizeof(float)) == 0;
      for (std::size_t i = 0; i < want.size(); ++i) {
        difference += std::fabs(static_cast<double>(streams[i]) - want[i]);
        size += std::fabs(static_cast<double>(want[i]));
      }
      means.push_back(difference / size);
      CAPTURE(seed, layer);
      CHECK(difference / size < (rig.model->plan().layers[layer].indexer ? 2e-2 : 5e-3));
    }
  }
};

}  // namespace

TEST_CASE("native layers fed with the oracle's input give the oracle's output",
          "[forward][parity][native]") {
  Native native;
  for (int seed = 0; seed < 5; ++seed) native.compare_layers(seed);
  auto& means = native.means;
  std::sort(means.begin(), means.end());
  WARN("native, teacher-forced: " << native.equal << " of " << native.tokens
                                  << " tokens equal bit for bit; mean relative difference median "
                                  << means[means.size() / 2] << ", worst " << means.back());
  CHECK(means[means.size() / 2] < 1e-3);
  CHECK(5 * native.equal > 3 * native.tokens);
}

TEST_CASE("native layers of one model give the oracle's output", "[.one_model]") {  // under qemu
  Native native;
  native.compare_layers(0);
  CHECK(2 * native.equal > native.tokens);
}

TEST_CASE("the MTP block gives the oracle's logits", "[forward][mtp]") {
  for (int seed = 0; seed < 2; ++seed) {
    const test::Golden golden(seed);
    const auto ids = test::read_ids(golden.model());
    const std::vector<std::int32_t> next(ids.begin() + 1, ids.begin() + 64);
    const auto hidden = golden.read("mtp_hidden");
    const auto want = golden.read("mtp_logits");
    test::Rig rig(golden.model(), Numerics::kExact);
    std::vector<float> got(want.size());
    auto state = rig.draft_state();
    const std::size_t row = hidden.size() / next.size();
    for (std::size_t at = 0; at < next.size(); at += 20) {  // in pieces
      const std::size_t n = std::min<std::size_t>(20, next.size() - at);
      rig.forward->run_mtp(state, {next.data() + at, n}, hidden.data() + at * row,
                           got.data() + at * static_cast<std::size_t>(rig.vocab()), nullptr);
    }
    CHECK(worst_difference(got, want) < 1e-4);
  }
}
