// Drafts change when tokens are computed, never which.  On nano, whose MTP block is trained.
#include <random>

#include "tests/session/fixture.h"
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

RunOptions with_drafts() {
  RunOptions run;
  run.max_tokens = 2;
  return run;
}

// The same session twice, one of them with drafts.
struct Pair {
  std::unique_ptr<Session> plain, drafted;
  std::string plain_text, drafted_text;

  explicit Pair(std::uint64_t seed, std::int64_t context_size = 0) {
    SessionOptions o;
    o.seed = seed;
    o.context_size = context_size;
    for (auto* s : {&plain, &drafted}) *s = std::make_unique<Session>(nano(), o);
    both([](Session& s, bool) { s.append_text(kStory, true, false); });
  }
  template <class Body>
  void both(Body&& body) {
    body(*plain, false);
    body(*drafted, true);
  }
  void step() {
    const Step s = drafted->step(with_drafts());
    drafted_text += s.text;
    REQUIRE(s.tokens.size() == 1 + s.accepted);
    REQUIRE(s.token == drafted->tokens().back());
    while (plain->tokens().size() < drafted->tokens().size()) plain_text += plain->step({}).text;
    check();
  }
  void generate(const GenerateOptions& options) {
    Finish finish[2];
    both([&](Session& s, bool draft) {
      (draft ? drafted_text : plain_text) +=
          s.generate(options, draft ? with_drafts() : RunOptions(), &finish[draft ? 1 : 0]);
    });
    REQUIRE(finish[0] == finish[1]);
    check();
  }
  void check() const {
    REQUIRE(std::equal(plain->tokens().begin(), plain->tokens().end(), drafted->tokens().begin(),
                       drafted->tokens().end()));
    REQUIRE(plain->position() == drafted->position());
    REQUIRE(plain->finish() == drafted->finish());
    REQUIRE(plain_text == drafted_text);
    REQUIRE(last(*plain) == last(*drafted));
  }
};

void rewind(Pair& p, std::size_t tokens) {
  p.both([&](Session& s, bool) {
    s.rewind(static_cast<std::int64_t>(s.tokens().size() - std::min(tokens, s.tokens().size())));
    s.append_text(" The ", false, false);
  });
}

}  // namespace

TEST_CASE("drafts change no token, text or logits, whatever a session does", "[session][draft]") {
  std::uint64_t drafted = 0, accepted = 0;
  for (std::uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    Pair p(seed);
    p.both([&](Session& s, bool) { s.set_sampler(seed % 2 == 0 ? greedy() : nullptr); });
    CAPTURE(seed);
    for (int i = 0; i < 60; ++i) {
      if (p.plain->finish() == Finish::kEos)
        p.both([](Session& s, bool) { s.append_text("\n\nAnd then Mara ", false, false); });
      switch (random() % 16) {
        case 0:
          rewind(p, random() % 20);
          break;
        case 1:
          p.both([&](Session& s, bool draft) { (draft ? p.drafted : p.plain) = s.fork(); });
          break;
        case 2: {
          const auto sampler = seed % 2 == 0 ? greedy() : nullptr;
          p.drafted = restore(nano(), save(*p.drafted));
          p.drafted->set_sampler(sampler);
          break;
        }
        case 3:
        case 4: {
          GenerateOptions o;
          o.max_tokens = 1 + random() % 12;
          if (random() % 2 == 0) o.stop = {"the", ". "};
          p.generate(o);
          break;
        }
        default:
          p.step();
      }
    }
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
    Pair p(7);
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
          s.generate(o, draft ? with_drafts() : RunOptions(), &finish);
    });
    REQUIRE(seen[0] == seen[1]);
    p.check();
    p.step();
  }
}

TEST_CASE("drafts end where the context does", "[session][draft]") {
  for (std::int64_t room = 1; room < 8; ++room) {
    const auto prompt = static_cast<std::int64_t>(Pair(1).plain->tokens().size());
    Pair p(1, prompt + room);
    p.both([](Session& s, bool) { s.set_sampler(greedy()); });
    p.generate({});
    CHECK(p.plain->finish() == Finish::kLength);
    CHECK(static_cast<std::int64_t>(p.drafted->tokens().size()) == prompt + room);
  }
}

TEST_CASE("without memory for drafts there are none", "[session][draft]") {
  Pair p(3);
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
  Pair p(9);
  for (int i = 0; i < 6; ++i) p.step();
  CancelFlag cancel;
  cancel.signal();
  RunOptions run = with_drafts();
  run.cancel = &cancel;
  CHECK(has(error_of([&] { p.drafted->step(run); }), "cancel"));
  p.check();
  for (int i = 0; i < 6; ++i) p.step();
}

}  // namespace v4i::session::test
