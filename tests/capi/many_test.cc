// v4i_step_many: one batch over many sessions, each with its own status.
#include "tests/capi/fixture.h"

using namespace v4i::test;

namespace {

v4infer::Session village_person(std::uint64_t seed) {
  auto o = v4infer::init<v4i_session_options>();
  o.seed = seed;
  auto s = ok(v4infer::Session::create(model(), o));
  ok(s.append(some_tokens(3 + 7 * (seed % 4))));
  return s;
}

}  // namespace

TEST_CASE("Twenty sessions stepped together say what each says alone") {
  std::vector<v4infer::Session> alone, together;
  std::vector<v4i_session*> raw;
  for (std::uint64_t i = 0; i < 20; ++i) {
    alone.push_back(village_person(i));
    together.push_back(village_person(i));
    raw.push_back(together.back().get());
  }
  std::vector<v4i_step> steps;
  std::vector<v4i_status> status;
  for (int round = 0; round < 4; ++round) {
    ok(v4infer::step_many(raw, steps, status));
    for (std::size_t i = 0; i < raw.size(); ++i) {
      REQUIRE(status[i] == V4I_OK);
      const v4i_step want = ok(alone[i].step());
      CHECK(steps[i].tokens[0] == want.tokens[0]);
      CHECK(steps[i].logprob == want.logprob);
      CHECK(std::string(steps[i].text, steps[i].text_len) == std::string(want.text, want.text_len));
    }
  }
}

TEST_CASE("One session's failure has its own status and stops nobody else") {
  auto o = v4infer::init<v4i_session_options>();
  o.context_size = 3;
  auto full = ok(v4infer::Session::create(model(), o));
  ok(full.append(some_tokens(3)));
  auto empty = new_session();
  auto good = village_person(1);
  std::vector<v4i_step> steps;
  std::vector<v4i_status> status;
  ok(v4infer::step_many({full.get(), good.get(), empty.get()}, steps, status));
  CHECK(status == std::vector<v4i_status>{V4I_E_CONTEXT_FULL, V4I_OK, V4I_E_STATE});
  CHECK(steps[1].token_count == 1);
  CHECK(steps[0].token_count == 0);
}

TEST_CASE("A session that is busy elsewhere is told so, the others step") {
  auto busy = village_person(1), good = village_person(2);
  std::vector<v4i_step> steps;
  std::vector<v4i_status> status;
  auto g = v4infer::init<v4i_generate_options>();
  ok(busy.generate(g, [&](const v4i_step&) {
    ok(v4infer::step_many({good.get(), busy.get()}, steps, status));
    return true;
  }));
  CHECK(status == std::vector<v4i_status>{V4I_OK, V4I_E_BUSY});
}

TEST_CASE("A batch that is none is refused as a whole") {
  auto a = village_person(1);
  auto b = ok(v4infer::Session::create(plain_model()));
  std::vector<v4i_step> steps;
  std::vector<v4i_status> status;
  CHECK(v4infer::step_many({a.get(), a.get()}, steps, status).code() == V4I_E_INVALID);
  CHECK(v4infer::step_many({a.get(), b.get()}, steps, status).code() == V4I_E_INVALID);
  CHECK(v4infer::step_many({a.get(), nullptr}, steps, status).code() == V4I_E_INVALID);
  ok(v4infer::step_many({}, steps, status));
  v4i_session* raw = a.get();
  auto step = v4infer::init<v4i_step>();
  refused(V4I_E_INVALID, "status is NULL",
          [&](v4i_error** err) { return v4i_step_many(&raw, 1, nullptr, &step, nullptr, err); });
  ok(a.step());  // nobody was left busy
}

TEST_CASE("The step array is walked by the stride of the caller's header") {
  struct Longer {
    v4i_step step;
    char later[40];
  } out[2];
  auto a = village_person(1), b = village_person(2);
  std::memset(out, 0x5a, sizeof out);
  out[0].step.struct_size = sizeof(Longer);
  v4i_session* raw[] = {a.get(), b.get()};
  v4i_status status[2];
  REQUIRE(v4i_step_many(raw, 2, nullptr, &out[0].step, status, nullptr) == V4I_OK);
  CHECK(out[1].step.struct_size == sizeof(Longer));
  CHECK(out[1].step.token_count == 1);
  CHECK(out[1].step.tokens[0] == ok(b.tokens()).back());
  CHECK(out[1].later[39] == 0);
}
