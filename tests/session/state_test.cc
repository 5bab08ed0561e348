// The rules of a session: what is refused, and what is left as it was.
#include <atomic>
#include <thread>

#include "lib/base/error.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/count_new.h"

namespace v4i::session::test {
namespace {

const std::shared_ptr<Context>& context() {
  static const auto made = open();
  return made;
}

TEST_CASE("ids outside the vocabulary are refused and nothing is appended") {
  const auto s = make_session(context());
  CHECK(error_of([&] {
          s->append(Ids{5, 512});
        }) == "-1 token id is 512, the model's vocabulary is 0 to 511");
  CHECK(has(error_of([&] { s->append(Ids{-1}); }), "-1 token id is -1"));
  CHECK(has(error_of([&] { s->sync(Ids{1, 2, 9999}); }), "-1 token id is 9999"));
  CHECK(has(error_of([&] { eval(*s, Ids{600}); }), "-1 token id is 600"));
  CHECK(s->tokens().empty());
}

TEST_CASE("a step needs something to continue") {
  const auto s = make_session(context());
  CHECK(error_of([&] { s->step({}); }) == "-9 there is nothing to continue: append tokens first");
  CHECK(has(error_of([&] { s->logits(); }), "-9 there are no logits"));
  s->append(Ids{5});
  CHECK(has(error_of([&] { s->logits(); }), "-9 there are no logits"));
  s->prefill({});
  CHECK(s->logits().size() == kVocab);
  CHECK(s->step({}).finish != Finish::kLength);
}

TEST_CASE("a full context is said so and changes nothing") {
  SessionOptions options;
  options.context_size = 8;
  Session s(context(), options);
  CHECK(error_of([&] { s.append(make_ids(9)); }) ==
        "-10 9 tokens do not fit: 0 of the context of 8 are in use");
  CHECK(has(error_of([&] { s.sync(make_ids(9)); }), "-10 9 tokens do not fit"));
  s.append(make_ids(7));
  s.set_sampler(greedy());
  s.step({});
  CHECK(s.tokens().size() == 8);
  if (s.finish() != Finish::kEos)
    CHECK(error_of([&] { s.step({}); }) == "-10 the context of 8 tokens is full");
  CHECK(s.tokens().size() == 8);
  s.rewind(4);
  CHECK(s.step({}).token >= 0);
}

TEST_CASE("options out of range are refused by name") {
  SessionOptions options;
  options.context_size = 1025;
  CHECK(error_of([&] { Session s(context(), options); }) ==
        "-1 context_size is 1025, allowed is 1 to 1024 (0 = the most)");
  EngineOptions engine;
  engine.threads = -1;
  CHECK(has(error_of([&] { Engine e(engine); }), "-1 thread count is -1"));
  engine = {};
  engine.backend.isa = "abacus";
  const auto text = error_of([&] { Engine e(engine); });
  CHECK(has(text, "-6 kernels \"abacus\" do not run here"));
  CHECK(has(text, "scalar"));
  CHECK(has(error_of([&] { open({.batch = 0}); }), "-1 max_batch_tokens is 0"));
  const auto s = make_session(context());
  s->append(Ids{5});
  RunOptions run;
  run.chunk_tokens = -3;
  CHECK(has(error_of([&] { s->prefill(run); }), "-1 chunk_tokens is -3"));
  CHECK(has(error_of([&] { s->rewind(2); }), "-1 cannot rewind to 2: the session has 1 tokens"));
  CHECK(has(error_of([&] { s->rewind(-1); }), "-1 cannot rewind to -1"));
}

TEST_CASE("a model without a tokenizer works with ids and says what text needs") {
  const auto s = make_session(context());
  CHECK(has(error_of([&] { s->append_text("hello", false, false); }), "no tokenizer.json"));
  s->append(make_ids(3));
  CHECK(s->step({}).text.empty());
}

TEST_CASE("after the end of the text a step needs new tokens") {
  const auto s = make_session(context());
  auto always_eos = std::make_shared<sampling::Sampler>(*greedy());
  always_eos->set_bias({{context()->model().config().eos, 1e9f}});
  s->set_sampler(always_eos);
  s->append(make_ids(5));
  const Step end = s->step({});
  CHECK(end.finish == Finish::kEos);
  CHECK(end.token == 1);
  CHECK(s->tokens().size() == 6);
  CHECK(s->pending() == 1);
  CHECK(has(error_of([&] { s->step({}); }), "-9 the text has ended"));
  CHECK(s->tokens().size() == 6);
  s->append(make_ids(2));
  CHECK(s->finish() == Finish::kNone);
  CHECK(s->step({}).finish == Finish::kEos);
  s->rewind(8);
  CHECK(s->step({}).finish == Finish::kEos);
}

TEST_CASE("a cancel from the progress callback keeps the chunks that were complete") {
  const Ids ids = make_ids(200);
  const Logits want = eval(*make_session(context()), ids);
  const auto s = make_session(context());
  s->append(ids);
  RunOptions run;
  run.chunk_tokens = 30;
  std::vector<std::uint64_t> seen;
  run.progress = [&](std::uint64_t done, std::uint64_t total) {
    CHECK(total == 200);
    seen.push_back(done);
    return done >= 90;
  };
  CHECK(has(error_of([&] { s->prefill(run); }), "-7 "));
  CHECK(seen == std::vector<std::uint64_t>{30, 60, 90});
  CHECK(s->position() == 90);
  CHECK(s->tokens().size() == 200);
  CHECK(has(error_of([&] { s->logits(); }), "-9 there are no logits"));
  s->prefill({});
  CHECK(same_rows(last(*s), 0, want, 199, 1));
}

TEST_CASE("a set cancel flag stops a step before it changes anything") {
  const Ids ids = make_ids(60);
  const auto s = make_session(context()), twin = make_session(context());
  for (auto* t : {s.get(), twin.get()}) {
    t->append(ids);
    t->prefill({});
  }
  CancelFlag cancel;
  RunOptions run;
  run.cancel = &cancel;
  for (int i = 0; i < 20; ++i) {
    cancel.signal();
    const std::size_t tokens = s->tokens().size();
    if (s->pending() > 0) {
      CHECK(has(error_of([&] { s->step(run); }), "-7 "));
      CHECK(same_rows(last(*s), 0, last(*twin), 0, 1));  // the logits are still those of before
    }
    CHECK(s->tokens().size() == tokens);
    cancel.reset();
    REQUIRE(s->step(run).token == twin->step({}).token);
  }
}

TEST_CASE("a cancel from another thread ends a long prefill and leaves the session usable") {
  const Ids ids = make_ids(1000);
  const auto s = make_session(context());
  s->append(ids);
  CancelFlag cancel;
  RunOptions run;
  run.cancel = &cancel;
  run.chunk_tokens = 64;
  std::atomic<bool> begun{false};
  run.progress = [&](std::uint64_t, std::uint64_t) {
    begun = true;
    return false;
  };
  std::thread other([&] {
    while (!begun.load()) std::this_thread::yield();
    cancel.signal();
  });
  CHECK(has(error_of([&] { s->prefill(run); }), "-7 "));
  other.join();
  CHECK(s->position() >= 64);
  CHECK(s->position() < 1000);
  s->rewind(150);
  s->prefill({});
  const Logits want = eval(*make_session(context()), part(ids, 0, 150));
  CHECK(same_rows(last(*s), 0, want, 149, 1));
}

TEST_CASE("a cancelled eval leaves the tokens of before") {
  const Ids ids = make_ids(200);
  const Logits want = eval(*make_session(context()), ids);
  const auto s = make_session(context());
  s->append(part(ids, 0, 50));
  s->prefill({});
  RunOptions run;
  run.chunk_tokens = 20;
  run.progress = [](std::uint64_t done, std::uint64_t) { return done >= 60; };
  Logits out(100 * kVocab);
  CHECK(has(error_of([&] { s->eval(part(ids, 50, 100), out.data(), run); }), "-7 "));
  CHECK(s->tokens().size() == 50);
  CHECK(same_rows(eval(*s, part(ids, 50, 150)), 0, want, 50, 150));
}

TEST_CASE("64 decode steps allocate nothing") {
  for (const auto& usual : {greedy(), hot()}) {
    const auto sampler = std::make_shared<sampling::Sampler>(*usual);
    sampler->set_bias({{context()->model().config().eos, -1e9f}});  // whatever the model says
    const auto s = make_session(context());
    s->set_sampler(sampler);
    s->append(make_ids(130));  // blocks end at 256
    RunOptions run;
    for (int i = 0; i < 4; ++i) s->step(run);
    const std::size_t before = v4i::test::count_new();
    int steps = 0;
    for (; steps < 64 && s->finish() == Finish::kNone; ++steps) s->step(run);
    CHECK(v4i::test::count_new() == before);
    CHECK(steps == 64);
  }
}

TEST_CASE("a step's token is the sampler's choice for the logits, the seed and the position") {
  const auto s = make_session(context(), 1234);
  sampling::Options o;
  o.repeat_penalty = 1.3f;
  o.temperature = 3;
  const auto sampler = std::make_shared<const sampling::Sampler>(o);
  s->set_sampler(sampler);
  s->append(make_ids(20));
  sampling::Scratch scratch;
  for (int i = 0; i < 20 && s->finish() == Finish::kNone; ++i) {
    const Ids before(s->tokens().begin(), s->tokens().end());
    const Step step = s->step({});
    const auto want = sampler->sample(s->logits(), before, 1234, before.size(), &scratch);
    CHECK(step.token == want.token);
    CHECK(step.logprob == want.logprob);
  }
}

TEST_CASE("metrics count what was computed, and how") {
  const auto s = make_session(context());
  s->append(make_ids(100));
  s->prefill({});
  s->step({});
  for (int i = 0; i < 5; ++i) s->step({});
  const Metrics& m = s->metrics();
  CHECK(m.prefill_tokens == 100);
  CHECK(m.decode_tokens == 5);
  CHECK(m.prefill_ns > 0);
  CHECK(m.decode_ns > 0);
  CHECK(m.first_token_ns >= m.prefill_ns);
}

}  // namespace
}  // namespace v4i::session::test
