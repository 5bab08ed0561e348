// V4-Pro's structure, 61 layers and 384 experts, at tiny widths: against the oracle, and in pieces.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/forward/rig.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using forward::Numerics;

namespace {

// Near ties make float32 sums choose other experts or rows, which moves logits by more than
// the tolerance.  In the 160 tokens of this model the closest choice among the scores of a
// router is decided by 3.5e-6 of the score, in the indexer by 5.9e-6 of the largest.
constexpr int kSeed = 0;
constexpr std::size_t kMtpTokens = 63;

double worst_difference(const float* a, const float* b, std::size_t n) {
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - b[i]));
  return worst;
}

}  // namespace

TEST_CASE(
    "61 layers of V4-Pro's structure give the oracle's exact logits, in chunks of 160, 64 and 1",
    "[forward][pro]") {
  const test::Golden golden = test::Golden::pro(kSeed);
  const auto ids = test::read_ids(golden.model());
  const auto want = golden.read("exact_logits");
  test::Rig rig(golden.model(), Numerics::kExact);
  REQUIRE(rig.model->plan().layers.size() == 61);
  REQUIRE(rig.model->config().experts == 384);
  const auto whole = rig.logits(ids, 160);
  REQUIRE(whole.size() == want.size());
  CHECK(worst_difference(whole.data(), want.data(), want.size()) < 1e-4);  // 4.7e-6 with AVX2
  for (const int chunk : {64, 1}) {
    CAPTURE(chunk);
    // One token a run is slow: only until past the first row of ratio 128.
    const std::ptrdiff_t n = chunk == 1 ? 132 : 160;
    const auto pieces = rig.logits({ids.begin(), ids.begin() + n}, chunk);
    CHECK(std::memcmp(pieces.data(), whole.data(), pieces.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("V4-Pro's structure gives the same native bits in chunks of 7 tokens", "[forward][pro]") {
  const std::string model = test::make_tiny_pro(kSeed);
  const auto ids = test::read_ids(model);
  test::Rig rig(model, Numerics::kNative);
  const auto whole = rig.logits(ids, 160);
  CHECK(std::all_of(whole.begin(), whole.end(), [](float x) { return std::isfinite(x); }));
  const auto pieces = rig.logits(ids, 7);
  REQUIRE(pieces.size() == whole.size());
  CHECK(std::memcmp(pieces.data(), whole.data(), whole.size() * sizeof(float)) == 0);
}

TEST_CASE("the MTP block behind 61 layers gives the oracle's logits", "[forward][pro][mtp]") {
  const test::Golden golden = test::Golden::pro(kSeed);
  const auto ids = test::read_ids(golden.model());
  const std::vector<std::int32_t> next(ids.begin() + 1, ids.begin() + 1 + kMtpTokens);
  const auto hidden = golden.read("mtp_hidden");
  const auto want = golden.read("mtp_logits");
  test::Rig rig(golden.model(), Numerics::kExact);
  std::vector<float> got(want.size());
  auto state = rig.draft_state();
  rig.forward->run_mtp(state, next, hidden.data(), got.data(), nullptr);
  CHECK(worst_difference(got.data(), want.data(), want.size()) < 1e-4);
}
