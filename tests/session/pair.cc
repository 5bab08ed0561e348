// See pair.h.
#include "tests/session/pair.h"

#include <algorithm>
#include <array>
#include <random>

#include "tests/support/catch.h"

namespace v4i::session::test {

Pair::Pair(std::shared_ptr<Context> of, const std::string& prompt, std::uint64_t seed,
           std::int64_t context_size)
    : context(std::move(of)) {
  SessionOptions o;
  o.seed = seed;
  o.context_size = context_size;
  for (auto* s : {&plain, &drafted}) *s = std::make_unique<Session>(context, o);
  both([&](Session& s, bool) { s.append_text(prompt, true, false); });
}

RunOptions Pair::drafts() const {
  RunOptions run;
  run.max_tokens = max_tokens;
  return run;
}

Step Pair::step() {
  const Step s = drafted->step(drafts());
  drafted_text += s.text;
  REQUIRE(s.tokens.size() == 1 + s.accepted);
  REQUIRE(s.accepted <= s.drafted);
  REQUIRE(static_cast<int>(s.drafted) < max_tokens);
  REQUIRE(s.token == drafted->tokens().back());
  REQUIRE(std::equal(s.tokens.rbegin(), s.tokens.rend(), drafted->tokens().rbegin()));
  while (plain->tokens().size() < drafted->tokens().size()) plain_text += plain->step({}).text;
  check();
  return s;
}

void Pair::generate(const GenerateOptions& options) {
  Finish finish[2];
  both([&](Session& s, bool draft) {
    (draft ? drafted_text : plain_text) +=
        s.generate(options, draft ? drafts() : RunOptions(), &finish[draft ? 1 : 0]);
  });
  REQUIRE(finish[0] == finish[1]);
  check();
}

void Pair::check() const {
  REQUIRE(std::equal(plain->tokens().begin(), plain->tokens().end(), drafted->tokens().begin(),
                     drafted->tokens().end()));
  REQUIRE(plain->position() == drafted->position());
  REQUIRE(plain->finish() == drafted->finish());
  REQUIRE(plain_text == drafted_text);
  REQUIRE(last(*plain) == last(*drafted));
}

namespace {

void rewind(Pair& p, std::size_t tokens) {
  p.both([&](Session& s, bool) {
    s.rewind(static_cast<std::int64_t>(s.tokens().size() - std::min(tokens, s.tokens().size())));
    s.append_text(" The ", false, false);
  });
}

void step_in_batch(Pair& p) {
  p.both([&](Session& s, bool draft) {
    Session* const sessions[] = {&s};
    std::array<Step, 1> step;
    std::array<Code, 1> status;
    step_many(sessions, draft ? p.drafts() : RunOptions(), step, status, nullptr);
    REQUIRE(status[0] == Code::kOk);
    (draft ? p.drafted_text : p.plain_text) += step[0].text;
  });
  p.check();
}

}  // namespace

void random_life(Pair& p, std::uint32_t seed, bool greedy, int operations) {
  std::mt19937 random(seed);
  const auto sampler = greedy ? test::greedy() : nullptr;
  p.both([&](Session& s, bool) { s.set_sampler(sampler); });
  for (int i = 0; i < operations; ++i) {
    if (p.plain->finish() == Finish::kEos)
      p.both([](Session& s, bool) { s.append_text("\n\nAnd then Mara ", false, false); });
    switch (random() % 16) {
      case 0:
        rewind(p, random() % 20);
        break;
      case 1:
        p.both([&](Session& s, bool draft) { (draft ? p.drafted : p.plain) = s.fork(); });
        break;
      case 2:
        p.drafted = restore(p.context, save(*p.drafted));
        p.drafted->set_sampler(sampler);
        break;
      case 3:
      case 4: {
        GenerateOptions o;
        o.max_tokens = 1 + random() % 12;
        if (random() % 2 == 0) o.stop = {"the", ". "};
        p.generate(o);
        break;
      }
      case 5:
        step_in_batch(p);
        break;
      default:
        p.step();
    }
  }
}

}  // namespace v4i::session::test
