// Drafts change when tokens are computed, never which.  On nano, whose MTP block is trained.
#include "tests/session/pair.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace v4i::session::test {

namespace {

const std::shared_ptr<Context>& nano() {
  static const auto context =
      open({.context = 2048, .path = v4i::test::source_dir() + "/examples/nano/model"});
  return context;
}

constexpr char kStory[] =
    "The code of the gate is 71. The baker swept the yard at dawn. A sailor mended a net in the "
    "rain. Mara takes the lantern. Mara goes to the tavern. ";

Pair pair(std::uint64_t seed, std::int64_t context_size = 0) {
  return {nano(), kStory, seed, context_size};
}

}  // namespace

TEST_CASE("drafts change no token, text or logits, whatever a session does", "[session][draft]") {
  std::uint64_t drafted = 0, accepted = 0;
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    CAPTURE(seed);
    Pair p = pair(seed);
    random_life(p, seed, seed % 2 == 0, 60);
    drafted += p.drafted->metrics().drafted;
    accepted += p.drafted->metrics().accepted;
    CHECK(p.plain->metrics().drafted == 0);
  }
  WARN(accepted << " of " << drafted << " guesses were right");
  CHECK(accepted > drafted / 10);
  CHECK(accepted < drafted);
}

TEST_CASE("a callback stops a drafted text at any token, and sees it as without drafts",
          "[session][draft]") {
  for (std::size_t stop = 1; stop < 24; ++stop) {
    Pair p = pair(7);
    p.both([](Session& s, bool) { s.set_sampler(greedy()); });
    std::vector<std::vector<float>> seen[2];
    p.both([&](Session& s, bool draft) {
      GenerateOptions o;
      std::size_t n = 0;
      o.on_step = [&](const Step& step) {
        REQUIRE(step.tokens.size() == 1);
        REQUIRE(s.pending() == 1);
        seen[draft ? 1 : 0].push_back(last(s));
        return ++n == stop;
      };
      Finish finish;
      (draft ? p.drafted_text : p.plain_text) +=
          s.generate(o, draft ? p.drafts() : RunOptions(), &finish);
    });
    REQUIRE(seen[0] == seen[1]);
    p.check();
    p.step();
  }
}

TEST_CASE("drafts end where the context does", "[session][draft]") {
  for (std::int64_t room = 1; room < 8; ++room) {
    const auto prompt = static_cast<std::int64_t>(pair(1).plain->tokens().size());
    Pair p = pair(1, prompt + room);
    p.both([](Session& s, bool) { s.set_sampler(greedy()); });
    p.generate({});
    CHECK(p.plain->finish() == Finish::kLength);
    CHECK(static_cast<std::int64_t>(p.drafted->tokens().size()) == prompt + room);
  }
}

TEST_CASE("without memory for drafts there are none", "[session][draft]") {
  Pair p = pair(3);
  p.both([](Session& s, bool) { s.prefill({}); });
  Budget& budget = nano()->engine().budget();
  const std::uint64_t cap = budget.cap();
  budget.change_cap(budget.used() + 4096);
  for (int i = 0; i < 10; ++i) p.step();
  budget.change_cap(cap);
  CHECK(p.drafted->metrics().drafted == 0);
  for (int i = 0; i < 10; ++i) p.step();
  CHECK(p.drafted->metrics().drafted > 0);
}

TEST_CASE("a cancelled step with a draft leaves the session as it was", "[session][draft]") {
  Pair p = pair(9);
  for (int i = 0; i < 6; ++i) p.step();
  CancelFlag cancel;
  cancel.signal();
  RunOptions run = p.drafts();
  run.cancel = &cancel;
  CHECK(has(error_of([&] { p.drafted->step(run); }), "cancel"));
  p.check();
  for (int i = 0; i < 6; ++i) p.step();
}

}  // namespace v4i::session::test
