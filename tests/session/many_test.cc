// step_many: batches of sessions, and what they must not change.
#include <thread>

#include "lib/base/error.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"

namespace v4i::session::test {
namespace {

struct Batch {
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<Step> out;
  std::vector<Code> status;
  std::vector<std::string> messages;

  void step(const RunOptions& run = {}) {
    std::vector<Session*> p;
    for (const auto& s : sessions) p.push_back(s.get());
    out.resize(p.size());
    status.resize(p.size());
    step_many(p, run, out, status, &messages);
  }
  bool all_ok() const {
    for (const Code c : status)
      if (c != Code::kOk) return false;
    return true;
  }
};

// Session i of the tests: another prompt, length, seed and sampler for each.
std::unique_ptr<Session> make(const std::shared_ptr<Context>& context, std::size_t i) {
  auto s = make_session(context, 100 + i);
  s->set_sampler(i % 2 == 0 ? hot() : greedy());
  s->append(make_ids(1 + 37 * i, i));
  return s;
}

TEST_CASE("stepping four sessions together equals stepping each alone, bit for bit",
          "[session][family]") {
  for (const auto numerics : kBoth) {
    const auto context = open({.numerics = numerics});
    Batch batch;
    std::vector<std::unique_ptr<Session>> alone;
    for (std::size_t i = 0; i < 4; ++i) {
      batch.sessions.push_back(make(context, i));
      alone.push_back(make(context, i));
    }
    for (int round = 0; round < 40; ++round) {
      INFO("round " << round);
      if (round == 20) {  // one comes back with a new prompt while the others go on
        batch.sessions[1]->append(make_ids(90, 7));
        alone[1]->append(make_ids(90, 7));
      }
      RunOptions run;
      run.chunk_tokens = round % 2 == 0 ? 0 : 13;
      batch.step(run);
      for (std::size_t i = 0; i < 4; ++i) {
        if (batch.status[i] != Code::kOk) continue;
        const Step want = alone[i]->step({});
        REQUIRE(batch.out[i].token == want.token);
        REQUIRE(batch.out[i].logprob == want.logprob);
        REQUIRE(same_rows(last(*batch.sessions[i]), 0, last(*alone[i]), 0, 1));
      }
    }
    for (std::size_t i = 0; i < 4; ++i)
      CHECK(std::vector(batch.sessions[i]->tokens().begin(), batch.sessions[i]->tokens().end()) ==
            std::vector(alone[i]->tokens().begin(), alone[i]->tokens().end()));
  }
}

TEST_CASE("more sessions than fit one batch step in several", "[session][family]") {
  const auto context = open({.batch = 5});
  Batch batch;
  for (std::size_t i = 0; i < 12; ++i) {
    batch.sessions.push_back(make_session(context, i));
    batch.sessions.back()->append(make_ids(1 + i, i));
  }
  batch.step();
  REQUIRE(batch.all_ok());
  for (std::size_t i = 0; i < 12; ++i) {
    const auto alone = make_session(context, i);
    alone->append(make_ids(1 + i, i));
    CHECK(alone->step({}).token == batch.out[i].token);
  }
}

TEST_CASE("one session's failure is its own") {
  const auto context = open();
  Batch batch;
  for (std::size_t i = 0; i < 4; ++i) batch.sessions.push_back(make(context, i));
  SessionOptions small;
  small.context_size = 3;
  batch.sessions.push_back(std::make_unique<Session>(context, small));
  batch.sessions.back()->append(make_ids(3));
  batch.sessions.push_back(make_session(context));  // nothing appended
  batch.step();
  for (std::size_t i = 0; i < 4; ++i) CHECK(batch.status[i] == Code::kOk);
  CHECK(batch.status[4] == Code::kContextFull);
  CHECK(batch.messages[4] == "the context of 3 tokens is full");
  CHECK(batch.status[5] == Code::kState);
  CHECK(batch.sessions[4]->tokens().size() == 3);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(batch.messages[i].empty());
    CHECK(make(context, i)->step({}).token == batch.out[i].token);
  }
}

TEST_CASE("without memory for one session the others step, and it steps later") {
  const auto engine = make_engine();
  const auto context = open(engine);
  Batch batch;
  for (const std::size_t n : {200u, 256u, 100u}) {  // at 256 every table needs a new block
    batch.sessions.push_back(make_session(context));
    batch.sessions.back()->append(make_ids(n, n));
    batch.sessions.back()->prefill({});
  }
  batch.step();  // the next step computes token 257 of session 1
  REQUIRE(batch.all_ok());
  // Rows are complete every 4 tokens: come to where the new block is opened.
  for (int i = 0; i < 2; ++i) batch.step();
  REQUIRE(batch.all_ok());
  const auto before =
      std::vector(batch.sessions[1]->tokens().begin(), batch.sessions[1]->tokens().end());
  const Place place = kv_place(*context);
  engine->budget().set_cap(engine->budget().used(place), place);
  batch.step();
  if (batch.status[1] == Code::kOk) batch.step();
  CHECK(batch.status[0] == Code::kOk);
  CHECK(batch.status[1] == Code::kNoMemory);
  CHECK(batch.status[2] == Code::kOk);
  CHECK(has(batch.messages[1], "budget"));
  CHECK(batch.sessions[1]->tokens().size() <= before.size() + 1);
  engine->budget().set_cap(Budget::kNoCap, place);
  batch.step();
  CHECK(batch.all_ok());
  const auto alone = make_session(context);
  alone->append(make_ids(256, 256));
  while (alone->tokens().size() < batch.sessions[1]->tokens().size()) alone->step({});
  CHECK(std::equal(alone->tokens().begin(), alone->tokens().end(),
                   batch.sessions[1]->tokens().begin()));
}

TEST_CASE("a cancel stops all and changes no token") {
  const auto context = open();
  Batch batch;
  for (std::size_t i = 0; i < 4; ++i) batch.sessions.push_back(make(context, i));
  RunOptions run;
  run.chunk_tokens = 10;
  std::uint64_t last_done = 0, all = 0;
  run.progress = [&](std::uint64_t done, std::uint64_t total) {
    CHECK(done > last_done);
    last_done = done;
    all = total;
    return done >= 100;
  };
  batch.step(run);
  CHECK(all == 37 + 74 + 111);
  CancelFlag cancel;
  cancel.signal();
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(batch.status[i] == Code::kCancelled);
      CHECK(batch.sessions[i]->tokens().size() == 1 + 37 * i);
    }
    run = {};
    run.cancel = &cancel;
    batch.step(run);
  }
  batch.step();
  REQUIRE(batch.all_ok());
  for (std::size_t i = 0; i < 4; ++i) CHECK(make(context, i)->step({}).token == batch.out[i].token);
}

TEST_CASE("a session twice, none, or of another model is refused before anything runs") {
  const auto context = open();
  const auto a = make(context, 0), b = make(open(), 1);
  std::vector<Step> out(2);
  std::vector<Code> status(2);
  auto many = [&](std::vector<Session*> s) {
    return error_of([&] { step_many(s, {}, out, status, nullptr); });
  };
  CHECK(has(many({a.get(), a.get()}), "-1 a session is there twice"));
  CHECK(has(many({a.get(), nullptr}), "-1 session 1 is null"));
  CHECK(has(many({a.get(), b.get()}), "-1 session 1 is of another model"));
  CHECK(has(many({a.get(), b.get(), a.get()}), "-1 3 sessions need 3 steps"));
  CHECK(many({}) == "no error");
  CHECK(a->tokens().size() == 1);
}

TEST_CASE("two threads with a session each, of one context and of one engine",
          "[session][family]") {
  const auto engine = make_engine(2);
  const auto one = open(engine), two = open(engine, {.numerics = forward::Numerics::kExact});
  for (const auto& other : {one, two}) {
    const std::shared_ptr<Context> contexts[2] = {one, other};
    std::vector<std::int32_t> got[2], want[2];
    auto play = [&](std::size_t i, std::vector<std::int32_t>* tokens) {
      const auto s = make(contexts[i], 2 + i);
      for (int n = 0; n < 12 && s->finish() == Finish::kNone; ++n) s->step({});
      tokens->assign(s->tokens().begin(), s->tokens().end());
    };
    for (std::size_t i = 0; i < 2; ++i) play(i, &want[i]);
    std::thread first([&] { play(0, &got[0]); }), second([&] { play(1, &got[1]); });
    first.join();
    second.join();
    CHECK(got[0] == want[0]);
    CHECK(got[1] == want[1]);
  }
}

TEST_CASE("several engines in one process do not disturb each other") {
  std::vector<std::int32_t> got[2];
  auto play = [&](std::size_t i) {
    const auto s = make(open({.threads = 1 + static_cast<int>(i)}), 3);
    for (int n = 0; n < 20 && s->finish() == Finish::kNone; ++n) s->step({});
    got[i].assign(s->tokens().begin(), s->tokens().end());
  };
  std::thread first([&] { play(0); }), second([&] { play(1); });
  first.join();
  second.join();
  CHECK(got[0].size() > 112);
  CHECK(got[0] == got[1]);
}

}  // namespace
}  // namespace v4i::session::test
