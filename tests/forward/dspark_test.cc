// DSpark against the numpy oracles of V4 and V4.1: what its stages see, and what they guess.
#include <cmath>
#include <cstring>

#include "tests/forward/rig.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using forward::Numerics;

namespace {

using Floats = std::vector<float>;
using Ids = std::vector<std::int32_t>;

struct Draft {
  Ids ids;
  Floats confidence, logits;
};

// A sequence and its draft state, fed from the last `seen` tokens of every run.
struct Drafting {
  test::Rig& rig;
  kv::State state, draft;
  std::size_t width, block;

  explicit Drafting(test::Rig& r)
      : rig(r),
        state(r.state()),
        draft(r.draft_state()),
        width(static_cast<std::size_t>(r.model->config().width) *
              r.model->config().dspark_target_layers.size()),
        block(static_cast<std::size_t>(r.model->config().dspark_block_size)) {}

  // Taps of the last `seen` of these tokens; returns the most likely next token.
  std::int32_t run(std::span<const std::int32_t> ids, std::size_t seen) {
    Floats taps(seen * width), logits(static_cast<std::size_t>(rig.vocab()));
    forward::Item item{&state, ids, logits.data()};
    item.taps = taps.data();
    item.tap_tokens = static_cast<std::int64_t>(seen);
    rig.forward->run({&item, 1}, nullptr);
    rig.forward->feed_dspark(draft, ids.last(seen), taps.data(), nullptr);
    return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) -
                                     logits.begin());
  }
  Draft guess(std::int32_t token) {
    Draft d{Ids(block), Floats(block), Floats(block * static_cast<std::size_t>(rig.vocab()))};
    const std::int64_t length = draft.length();
    rig.forward->run_dspark(draft, token, {d.ids.data(), d.confidence.data(), d.logits.data()},
                            nullptr);
    REQUIRE(draft.length() == length);
    return d;
  }
};

double worst(const Floats& a, const Floats& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(static_cast<double>(a[i]) - b[i]));
  return most;
}

Draft golden_draft(const test::Golden& golden, const std::string& numerics, int tokens,
                   std::int32_t* first) {
  const std::string name = numerics + "_" + std::to_string(tokens) + "_";
  Draft d{{}, golden.read(name + "confidence"), golden.read(name + "logits")};
  for (const float id : golden.read(name + "ids")) d.ids.push_back(static_cast<std::int32_t>(id));
  *first = d.ids[0];
  d.ids.erase(d.ids.begin());
  return d;
}

// Drafts behind 9 and 45 tokens, `chunk` tokens a run.
void check_exact(const test::Golden& golden, const Ids& ids, std::size_t chunk) {
  test::Rig rig(golden.model(), Numerics::kExact, 2);
  Drafting drafting(rig);
  std::size_t at = 0;
  std::int32_t next = 0;
  for (const int tokens : {9, 45}) {
    const auto end = static_cast<std::size_t>(tokens);
    for (std::size_t n = 0; at < end; at += n) {
      n = std::min(chunk, end - at);
      next = drafting.run(std::span(ids).subspan(at, n), n);
    }
    std::int32_t first = 0;
    const Draft want = golden_draft(golden, "exact", tokens, &first), got = drafting.guess(next);
    CAPTURE(tokens, chunk);
    REQUIRE(next == first);
    CHECK(got.ids == want.ids);
    CHECK(worst(got.logits, want.logits) < 1e-4);
    CHECK(worst(got.confidence, want.confidence) < 1e-4);
  }
}

Ids ids_of(const test::Golden& golden, bool v41) {
  return v41 ? test::Case(golden.model(), "case_text").ids : test::read_ids(golden.model());
}

}  // namespace

TEST_CASE("DSpark's exact logits, ids and confidences are the oracle's", "[forward][dspark]") {
  for (const bool v41 : {false, true}) {
    for (int seed = 0; seed < test::seeds(6); ++seed) {
      CAPTURE(v41, seed);
      const test::Golden golden = test::Golden::dspark(seed, v41);
      for (const std::size_t chunk : {45, 7}) check_exact(golden, ids_of(golden, v41), chunk);
    }
  }
}

TEST_CASE("DSpark seeded with the last window of a prompt guesses as if it had seen all of it",
          "[forward][dspark]") {
  for (const bool v41 : {false, true}) {
    CAPTURE(v41);
    const test::Golden golden = test::Golden::dspark(0, v41);
    const Ids ids = ids_of(golden, v41);
    test::Rig rig(golden.model(), Numerics::kExact);
    const auto window = static_cast<std::size_t>(rig.model->config().window);
    Drafting all(rig), last(rig);
    const std::int32_t next = all.run(std::span(ids).first(60), 60);
    REQUIRE(last.run(std::span(ids).first(60), window) == next);
    const Draft a = all.guess(next), b = last.guess(next);
    CHECK(a.ids == b.ids);
    CHECK(worst(a.logits, b.logits) < 1e-3);  // positions differ, their distances do not
  }
}

TEST_CASE("taps change no logits, drafts no state, and a block has the same bits twice",
          "[forward][dspark]") {
  for (const Numerics numerics : {Numerics::kExact, Numerics::kNative}) {
    for (const bool v41 : {false, true}) {
      CAPTURE(v41, static_cast<int>(numerics));
      const test::Golden golden = test::Golden::dspark(1, v41);
      const Ids ids = ids_of(golden, v41);
      test::Rig one(golden.model(), numerics, 1), three(golden.model(), numerics, 3);
      const auto vocab = static_cast<std::size_t>(one.vocab());
      Floats plain(vocab);
      kv::State state = one.state();
      const forward::Item item{&state, std::span(ids).first(40), plain.data()};
      one.forward->run({&item, 1}, nullptr);
      Drafting a(one), b(three);
      const std::int32_t next = a.run(std::span(ids).first(40), 40);
      CHECK(next == std::max_element(plain.begin(), plain.end()) - plain.begin());
      for (std::size_t at = 0; at < 40; at += 8) b.run(std::span(ids).subspan(at, 8), 8);
      const Draft first = a.guess(next), again = a.guess(next), other = b.guess(next);
      for (const Draft* d : {&again, &other}) {
        CHECK(first.ids == d->ids);
        CHECK(std::memcmp(first.logits.data(), d->logits.data(),
                          first.logits.size() * sizeof(float)) == 0);
        CHECK(std::memcmp(first.confidence.data(), d->confidence.data(),
                          first.confidence.size() * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("native drafts from the oracle's taps are near the oracle's",
          "[forward][dspark][native]") {
  for (const bool v41 : {false, true}) {
    std::vector<double> means;
    for (int seed = 0; seed < test::seeds(6); ++seed) {
      const test::Golden golden = test::Golden::dspark(seed, v41);
      const Ids ids = ids_of(golden, v41);
      test::Rig rig(golden.model(), Numerics::kNative);
      for (const int tokens : {9, 45}) {
        Drafting drafting(rig);
        const Floats taps = golden.read("native_" + std::to_string(tokens) + "_taps");
        rig.forward->feed_dspark(drafting.draft,
                                 std::span(ids).first(static_cast<std::size_t>(tokens)),
                                 taps.data(), nullptr);
        std::int32_t first = 0;
        const Draft want = golden_draft(golden, "native", tokens, &first);
        const Draft got = drafting.guess(first);
        // The first row: later ones depend on guesses, which a rounding may change.
        double difference = 0, size = 0;
        for (std::size_t i = 0; i < static_cast<std::size_t>(rig.vocab()); ++i) {
          difference += std::fabs(static_cast<double>(got.logits[i]) - want.logits[i]);
          size += std::fabs(static_cast<double>(want.logits[i]));
        }
        means.push_back(difference / size);
      }
    }
    std::sort(means.begin(), means.end());
    WARN((v41 ? "V4.1" : "V4") << ", native drafts: mean relative difference median "
                               << means[means.size() / 2] << ", worst " << means.back());
    CHECK(means[means.size() / 2] < 2e-2);
    CHECK(means.back() < 0.2);
  }
}

TEST_CASE("DSpark is refused where there is none", "[forward][dspark]") {
  test::Rig rig(test::make_tiny(0), Numerics::kExact);
  kv::State state = rig.state(), draft = rig.draft_state();
  CHECK_FALSE(rig.forward->has_dspark());
  const Ids ids(3, 5);
  Floats taps(3 * 256 * 3);
  const auto text_of = [](auto&& body) -> std::string {
    try {
      body();
    } catch (const Error& e) {
      return e.text();
    }
    return "";
  };
  forward::Item item{&state, ids};
  item.taps = taps.data();
  item.tap_tokens = 3;
  for (const std::string& said :
       {text_of([&] {
          rig.forward->run({&item, 1}, nullptr);
        }),
        text_of([&] { rig.forward->feed_dspark(draft, ids, taps.data(), nullptr); }),
        text_of([&] { rig.forward->run_dspark(draft, 5, {}, nullptr); })})
    CHECK(said.find("the checkpoint has no DSpark stages") != std::string::npos);
  CHECK(state.length() == 0);
  CHECK(draft.length() == 0);
}
