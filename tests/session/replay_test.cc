// Bounded replay of prompts (V4.1): the numpy oracle's logits, and the same bits whatever a session
// does between its prompts.
#ifndef V4I_TEST_CUDA  // which runs V4
#include <array>
#include <cmath>

#include "lib/base/error.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/held_store.h"

using namespace v4i;
using namespace v4i::session;
using namespace v4i::session::test;

namespace {

Open v41(forward::Numerics numerics = forward::Numerics::kNative, int batch = 64) {
  Open o;
  o.path = v4i::test::make_tiny_v41(0);
  o.numerics = numerics;
  o.batch = batch;
  return o;
}

std::unique_ptr<Session> replaying(const std::shared_ptr<Context>& context) {
  SessionOptions o;
  o.replay = true;
  return std::make_unique<Session>(context, o);
}

// The logits behind each of `prompts`, which follow each other.
std::vector<Logits> behind(Session& s, const std::vector<Ids>& prompts, int chunk = 0) {
  std::vector<Logits> out;
  RunOptions run;
  run.chunk_tokens = chunk;
  for (const Ids& p : prompts) {
    s.append(p);
    s.prefill(run);
    out.push_back(last(s));
  }
  return out;
}

const std::vector<Ids> kPrompts = {make_ids(200, 1), make_ids(5, 2),  make_ids(1, 3),
                                   make_ids(131, 4), make_ids(16, 5), make_ids(17, 6)};

}  // namespace

TEST_CASE("a replayed prompt has the oracle's logits", "[session][replay]") {
  // v41_oracle.py --replay, case_text.json of 96 tokens of seed 0: logits 0 to 5 of the last one.
  const float want[] = {1.827699f, 1.090347f, 2.444382f, -1.702733f, 3.421141f, -1.517799f};
  Open o = v41(forward::Numerics::kExact);
  o.path = v4i::test::make_tiny_v41(0, 96);
  const auto context = open(o);
  const std::string text = v4i::test::read_file(o.path + "/case_text.json");
  Ids ids;
  for (const char* at = text.c_str() + text.find('[') + 1; *at != ']';) {
    char* end = nullptr;
    ids.push_back(static_cast<std::int32_t>(std::strtol(at, &end, 10)));
    at = *end == ',' ? end + 1 : end;
  }
  REQUIRE(ids.size() == 96);
  auto s = replaying(context);
  s->append(ids);
  s->prefill({});
  for (std::size_t i = 0; i < 6; ++i) CHECK(std::fabs(s->logits()[i] - want[i]) < 1e-4f);
  auto full = make_session(context);
  full->append(ids);
  full->prefill({});
  CHECK(std::fabs(full->logits()[0] - 1.811222f) < 1e-4f);
  CHECK_FALSE(same_rows(last(*full), 0, last(*s), 0, 1));
}

TEST_CASE("a replayed text has the same bits whatever chunks, forks, saves and threads",
          "[session][replay]") {
  for (const auto numerics : kBoth) {
    const auto want = behind(*replaying(open(v41(numerics))), kPrompts);
    for (const auto& [batch, chunk] : {std::pair{64, 7}, {300, 0}, {300, 1}}) {
      auto s = replaying(open(v41(numerics, batch)));
      CHECK(behind(*s, kPrompts, chunk) == want);
    }
    auto context = open(v41(numerics));
    auto s = replaying(context);
    SessionOptions replay;
    replay.replay = true;
    for (std::size_t i = 0; i < kPrompts.size(); ++i) {
      CAPTURE(i);
      auto other = i % 2 == 0 ? s->fork() : restore(context, save(*s), replay);
      other->append(make_ids(40, 99));  // leaves no trace in s
      other->prefill({});
      s = i % 3 == 0 ? s->fork() : restore(context, save(*s), replay);
      s->append(kPrompts[i]);
      s->prefill({});
      REQUIRE(last(*s) == want[i]);
    }
  }
}

TEST_CASE("a step of several replaying sessions is that of each alone", "[session][replay]") {
  const auto context = open(v41());
  const auto alone = replaying(context), a = replaying(context), b = replaying(context);
  for (Session* s : {alone.get(), a.get(), b.get()}) s->append(kPrompts[0]);
  b->append(kPrompts[3]);
  alone->step({});
  const std::array<Session*, 2> both = {a.get(), b.get()};
  std::array<Step, 2> steps;
  std::array<Code, 2> status;
  step_many(both, RunOptions{}, steps, status, nullptr);
  REQUIRE((status[0] == Code::kOk && status[1] == Code::kOk));
  CHECK(last(*a) == last(*alone));
}

TEST_CASE("a replayed text taken back goes on from a window that is computed again",
          "[session][replay]") {
  const auto context = open(v41());
  for (const std::int64_t at : {300, 205, 200, 195, 190, 100, 3}) {
    CAPTURE(at);
    auto s = replaying(context);
    behind(*s, {kPrompts[0], kPrompts[1], kPrompts[3]});
    auto again = s->fork();
    for (Session* x : {s.get(), again.get()}) {
      x->rewind(at);
      x->append(kPrompts[5]);
      x->prefill({});
    }
    CHECK(last(*s) == last(*again));
    CHECK(s->position() == at + 17);
    // What was taken back is no part of it.
    for (const float v : last(*s)) REQUIRE(std::isfinite(v));
  }
}

TEST_CASE("a replaying session takes up the rows of another one, and has its bits",
          "[session][replay]") {
  const Ids ids = make_ids(800, 7);
  const auto context = open(v41());
  auto first = replaying(context);
  first->append(ids);
  first->prefill({});
  auto second = replaying(context);
  second->append(ids);
  second->prefill({});
  CHECK(second->metrics().taken_up_tokens >= 512);
  CHECK(last(*second) == last(*first));
  auto full = make_session(context);  // shares no window with them
  full->append(ids);
  full->prefill({});
  CHECK(full->metrics().taken_up_tokens == 0);
  CHECK(last(*full) == last(*[&] {
          static auto fresh = make_session(open(v41()));
          fresh->append(ids);
          fresh->prefill({});
          return fresh.get();
        }()));
}

TEST_CASE("only models with late layers replay", "[session][replay]") {
  Open o;
  o.path = v4i::test::make_tiny(0);
  const auto context = open(o);
  CHECK(has(error_of([&] { replaying(context); }), "-6 "));
}

#endif
