// Drafts by DSpark, of V4 and V4.1: a block of guesses a step, and the undrafted text.  CUDA has
// none (tests/cuda_models/backend_test.cc).
#ifndef V4I_TEST_CUDA
#include <ctime>
#include <random>

#include "tests/session/pair.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors_edit.h"
#include "tests/support/tiny_model.h"

namespace v4i::session::test {

namespace {

enum class Weights { kRandom, kRepeating };

// With the tokenizer of 512 tokens; kept for the life of the program.
const std::string& folder(bool v41, Weights weights) {
  static const v4i::test::TempDir dirs[2][2];
  const v4i::test::TempDir& d = dirs[v41 ? 1 : 0][weights == Weights::kRandom ? 0 : 1];
  static bool made[2][2] = {};
  bool& done = made[v41 ? 1 : 0][weights == Weights::kRandom ? 0 : 1];
  if (!done) {
    v4i::test::copy_model(weights == Weights::kRepeating ? v4i::test::make_repeating(v41)
                          : v41                          ? v4i::test::make_tiny_v41(0)
                                                         : v4i::test::make_tiny(0, 64, true),
                          d.path());
    v4i::test::write_file(d.file("tokenizer.json"),
                          v4i::test::read_file(v4i::test::source_dir() +
                                               "/tests/tokenizer/golden/tokenizer_512.json"));
    done = true;
  }
  static std::string paths[2][2];
  return paths[v41 ? 1 : 0][weights == Weights::kRandom ? 0 : 1] = d.path();
}

const std::shared_ptr<Context>& model(bool v41, Weights weights) {
  static std::shared_ptr<Context> kept[2][2];
  auto& c = kept[v41 ? 1 : 0][weights == Weights::kRandom ? 0 : 1];
  if (c == nullptr) c = open({.path = folder(v41, weights)});
  return c;
}

std::shared_ptr<Context> with_slots(bool v41) {
  return open({.path = folder(v41, Weights::kRepeating), .expert_slots = 5});
}

Pair greedy_pair(bool v41, std::int64_t context_size = 0) {
  Pair p(model(v41, Weights::kRepeating), "Mara goes to the", 1, context_size);
  p.both([](Session& s, bool) { s.set_sampler(greedy()); });
  return p;
}

}  // namespace

TEST_CASE("DSpark changes no token, text or logits, whatever a session does",
          "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    std::uint64_t drafted = 0, accepted = 0;
    for (const Weights weights : {Weights::kRandom, Weights::kRepeating}) {
      for (std::uint32_t seed = 0; seed < 12; ++seed) {
        CAPTURE(v41, weights == Weights::kRandom, seed);
        Pair p(model(v41, weights), "The baker swept the yard at dawn. ", seed);
        p.max_tokens = 2 + static_cast<int>(seed) % 6;
        random_life(p, seed, seed % 2 == 0, 40);
        drafted += p.drafted->metrics().drafted;
        accepted += p.drafted->metrics().accepted;
        CHECK(p.plain->metrics().drafted == 0);
      }
    }
    WARN((v41 ? "V4.1: " : "V4: ") << accepted << " of " << drafted << " guesses were right");
    CHECK(accepted > 0);
    CHECK(accepted < drafted);
  }
}

TEST_CASE("a thousand random texts with DSpark are those without", "[session][draft][dspark]") {
  const std::clock_t start = std::clock();
  std::mt19937 random(1);
  std::uint64_t tokens = 0, accepted = 0;
  for (int text = 0; text < 1000; ++text) {
    const bool v41 = text % 2 == 1;
    const Weights weights = text % 4 < 2 ? Weights::kRandom : Weights::kRepeating;
    CAPTURE(text);
    Pair p(model(v41, weights), std::string(1 + random() % 12, static_cast<char>('a' + text % 26)),
           static_cast<std::uint64_t>(text));
    p.both([&](Session& s, bool) { s.set_sampler(text % 8 < 4 ? greedy() : nullptr); });
    GenerateOptions o;
    o.max_tokens = 1 + random() % 12;
    p.generate(o);
    tokens += p.plain->tokens().size();
    accepted += p.drafted->metrics().accepted;
  }
  WARN("1,000 texts twice, " << tokens << " tokens, " << accepted << " right guesses: "
                             << (std::clock() - start) / CLOCKS_PER_SEC << " s of CPU");
  CHECK(accepted > 500);
}

TEST_CASE("right guesses give several tokens a step, and never more than are allowed",
          "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    for (const int most : {1, 2, 3, 4, 5, 6, 100}) {
      Pair p = greedy_pair(v41);
      p.max_tokens = most;
      std::size_t longest = 0;
      for (int i = 0; i < 20; ++i) longest = std::max(longest, p.step().tokens.size());
      CAPTURE(v41, most);
      CHECK(longest <= static_cast<std::size_t>(std::min(most, 6)));
      CHECK(longest >= static_cast<std::size_t>(std::min(most, 5)));
      const Metrics& m = p.drafted->metrics();
      CHECK((most == 1) == (m.drafted == 0));
      CHECK((most == 1) == (m.accepted == 0));
    }
  }
}

TEST_CASE("a callback stops at any token of a block of guesses", "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    for (std::size_t stop = 1; stop < 14; ++stop) {
      Pair p = greedy_pair(v41);
      std::vector<Logits> seen[2];
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
        REQUIRE(finish == Finish::kCancelled);
      });
      REQUIRE(seen[0] == seen[1]);
      p.check();
      for (int i = 0; i < 3; ++i) p.step();
    }
  }
}

TEST_CASE("a text ends with EOS in the middle of a block of guesses", "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    Pair before = greedy_pair(v41);
    for (int i = 0; i < 4; ++i) before.step();
    const auto prompt = Pair(before.context, "Mara goes to the", 1).plain->tokens().size();
    for (std::size_t at = 0; at < 8; ++at) {
      const std::int32_t eos = before.plain->tokens()[prompt + at];
      const v4i::test::TempDir d;
      v4i::test::copy_model(folder(v41, Weights::kRepeating), d.path());
      v4i::test::edit_config(d.path(), "eos_token_id", std::to_string(eos));
      Pair p(open({.path = d.path()}), "Mara goes to the", 1);
      p.both([](Session& s, bool) { s.set_sampler(greedy()); });
      p.generate({});
      CAPTURE(v41, at);
      CHECK(p.drafted->finish() == Finish::kEos);
      CHECK(p.drafted->tokens().size() == prompt + at + 1);
    }
  }
}

TEST_CASE("DSpark's drafts end where the context does", "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    for (std::int64_t room = 1; room < 12; ++room) {
      const auto prompt = static_cast<std::int64_t>(greedy_pair(v41).plain->tokens().size());
      Pair p = greedy_pair(v41, prompt + room);
      p.generate({});
      CHECK(p.plain->finish() == Finish::kLength);
      CHECK(static_cast<std::int64_t>(p.drafted->tokens().size()) == prompt + room);
    }
  }
}

TEST_CASE("the first step behind a prompt has a draft where the prefill allowed them",
          "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    for (const bool allowed : {false, true}) {
      Pair p = greedy_pair(v41);
      RunOptions run = p.drafts();
      run.chunk_tokens = 3;
      if (!allowed) run.max_tokens = 1;
      p.drafted->prefill(run);
      p.plain->prefill({});
      p.drafted_text += p.drafted->step(run).text;  // of the prompt's logits
      p.plain_text += p.plain->step({}).text;
      CAPTURE(v41, allowed);
      CHECK((p.step().drafted > 0) == allowed);
      CHECK(p.step().drafted > 0);
    }
  }
}

TEST_CASE("drafts cross the places of snapshots, and a deep rewind", "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    Pair p(model(v41, Weights::kRepeating), std::string(20, 'x'), 3);
    p.both([](Session& s, bool) {
      s.set_sampler(greedy());
      s.append(make_ids(static_cast<std::size_t>(500 - s.tokens().size())));
    });
    while (p.plain->tokens().size() < 540) p.step();
    p.both([](Session& s, bool) { s.rewind(513); });
    for (int i = 0; i < 8; ++i) p.step();
    CHECK(p.drafted->metrics().accepted > 8);
  }
}

TEST_CASE("the experts of DSpark's stages lie in slots too", "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    Pair p(with_slots(v41), "Mara goes to the", 1);
    p.both([](Session& s, bool) { s.set_sampler(greedy()); });
    for (int i = 0; i < 10; ++i) p.step();
    Pair q = greedy_pair(v41);
    for (int i = 0; i < 10; ++i) q.step();
    CHECK(std::equal(p.plain->tokens().begin(), p.plain->tokens().begin() + 20,
                     q.plain->tokens().begin()));
    CHECK(p.drafted->metrics().accepted > 10);
    CHECK(p.context->experts().stats().experts == (v41 ? 10 * 8 + 3 * 6 : 7 * 8));
  }
}

TEST_CASE("without memory for DSpark there are no drafts, and a cancel leaves all as it was",
          "[session][draft][dspark]") {
  for (const bool v41 : {false, true}) {
    Pair p = greedy_pair(v41);
    p.both([](Session& s, bool) { s.prefill({}); });
    Budget& budget = p.context->engine().budget();
    const std::uint64_t cap = budget.cap();
    budget.change_cap(budget.used() + 4096);
    for (int i = 0; i < 4; ++i) p.step();
    budget.change_cap(cap);
    CHECK(p.drafted->metrics().drafted == 0);
    for (int i = 0; i < 4; ++i) p.step();
    CHECK(p.drafted->metrics().drafted > 0);
    CancelFlag cancel;
    cancel.signal();
    RunOptions run = p.drafts();
    run.cancel = &cancel;
    CHECK(has(error_of([&] { p.drafted->step(run); }), "cancel"));
    p.check();
    for (int i = 0; i < 4; ++i) p.step();
  }
}

TEST_CASE("batches smaller than a block make no drafts", "[session][draft][dspark]") {
  Pair p(open({.batch = 4, .path = folder(false, Weights::kRepeating)}), "Mara", 1);
  for (int i = 0; i < 4; ++i) p.step();
  CHECK(p.drafted->metrics().drafted == 0);
}

}  // namespace v4i::session::test
#endif
