// Section 8 of v4infer.h: prefill, step, generate, eval.
#include <string>

#include "tests/capi/fixture.h"

using namespace v4i::test;

namespace {

v4i_generate_options tokens(int n) {
  auto o = v4infer::init<v4i_generate_options>();
  o.max_tokens = n;
  return o;
}

v4infer::Session prompted() {
  v4infer::Session s = greedy_session();
  ok(s.append("Once upon a time", V4I_TOK_ADD_BOS));
  return s;
}

}  // namespace

TEST_CASE("Steps are what generate is made of") {
  v4infer::Session a = prompted(), b = prompted();
  std::string steps, streamed;
  for (int i = 0; i < 10; ++i) {
    const v4i_step step = ok(a.step());
    CHECK(step.token_count == 1);
    CHECK(step.tokens[0] == ok(a.tokens()).back());
    CHECK(step.logprob <= 0);
    steps.append(step.text, step.text_len);
  }
  std::int32_t finish = 0;
  const std::string text = ok(b.generate(
      tokens(10),
      [&](const v4i_step& s) {
        streamed.append(s.text, s.text_len);
        return false;
      },
      &finish));
  CHECK(finish == V4I_FINISH_LENGTH);
  CHECK(streamed == text);
  CHECK(text.substr(0, steps.size()) == steps);  // generate also flushes half a character
  CHECK(ok(a.tokens()) == ok(b.tokens()));
}

TEST_CASE("generate ends at a stop text, at a callback's word, or at its limit") {
  v4infer::Session s = prompted();
  const std::string all = ok(s.generate(tokens(10)));
  REQUIRE(all.size() > 6);
  const std::string word = all.substr(4, 2);
  const char* stop[] = {"never said", word.c_str()};
  auto o = tokens(10);
  o.stop = stop;
  o.stop_count = 2;
  std::int32_t finish = 0;
  v4infer::Session stopped = prompted();
  CHECK(ok(stopped.generate(o, &finish)) == all.substr(0, all.find(word)));
  CHECK(finish == V4I_FINISH_STOP);
  int calls = 0;
  v4infer::Session told = prompted();
  ok(told.generate(
      tokens(10), [&](const v4i_step&) { return ++calls == 3; }, &finish));
  CHECK(finish == V4I_FINISH_CANCELLED);
  CHECK(calls == 3);
  CHECK(ok(told.info()).finish == V4I_FINISH_CANCELLED);
  REQUIRE(v4i_session_generate(told.get(), nullptr, nullptr, nullptr, nullptr) != V4I_E_INVALID);
}

TEST_CASE("Run options out of range are refused with the range") {
  v4infer::Session s = prompted();
  auto o = v4infer::init<v4i_run_options>();
  o.chunk_tokens = -1;
  CHECK(std::string(s.prefill(o).message()).find("chunk_tokens is -1, allowed is 0 to") !=
        std::string::npos);
  o = v4infer::init<v4i_run_options>();
  o.max_tokens_per_step = 2000;
  CHECK(s.step(o).error().code() == V4I_E_INVALID);
  o = v4infer::init<v4i_run_options>();
  o.reserved0 = 1;
  CHECK(s.prefill(o).code() == V4I_E_INVALID);
  auto g = tokens(-1);
  CHECK(s.generate(g).error().code() == V4I_E_INVALID);
  const char* empty[] = {""};
  g = tokens(1);
  g.stop = empty;
  g.stop_count = 1;
  CHECK(s.generate(g).error().code() == V4I_E_INVALID);
  v4i_step step{};
  refused(V4I_E_ABI, "v4i_step",
          [&](v4i_error** err) { return v4i_session_step(s.get(), nullptr, &step, err); });
  CHECK(ok(s.info()).position == 0);  // nothing of all that has computed
}

TEST_CASE("Stepping without a token is the wrong moment, without room a full context") {
  v4infer::Session s = new_session();
  CHECK(s.step().error().code() == V4I_E_STATE);
  auto o = v4infer::init<v4i_session_options>();
  o.context_size = 4;
  v4infer::Session small = ok(v4infer::Session::create(model(), o));
  ok(small.append(some_tokens(4)));
  CHECK(small.step().error().code() == V4I_E_CONTEXT_FULL);
  CHECK(ok(small.tokens()).size() == 4);
}

TEST_CASE("Prefill reports every chunk, and keeps the complete ones when told to stop") {
  struct Seen {
    std::vector<std::uint64_t> done;
    std::uint64_t stop_at = ~std::uint64_t{0};
  } seen;
  auto o = v4infer::init<v4i_run_options>();
  o.chunk_tokens = 8;
  o.progress_user = &seen;
  o.progress = [](std::int32_t phase, std::uint64_t done, std::uint64_t total, void* user) {
    auto* s = static_cast<Seen*>(user);
    s->done.push_back(done);
    return phase != V4I_PHASE_PREFILL || total != 20 || done >= s->stop_at ? 1 : 0;
  };
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(20)));
  v4infer::Session t = ok(s.fork());
  ok(s.prefill(o));
  CHECK(seen.done.back() == 20);
  CHECK(seen.done.size() >= 3);
  seen = {};
  seen.stop_at = 8;
  CHECK(t.prefill(o).code() == V4I_E_CANCELLED);
  CHECK(ok(t.info()).position == 8);
  ok(t.prefill());
  CHECK(ok(t.eval(some_tokens(1), 512)) == ok(s.eval(some_tokens(1), 512)));
}

TEST_CASE("Callbacks that throw end the call as V4I_E_INTERNAL, and the session lives on") {
  v4infer::Session s = prompted();
  const auto r = s.generate(tokens(5), [](const v4i_step&) -> bool {
    throw std::runtime_error("the window was closed");
  });
  CHECK(r.error().code() == V4I_E_INTERNAL);
  CHECK(r.error().message() == std::string("the window was closed"));
  auto o = v4infer::init<v4i_run_options>();
  o.progress = [](std::int32_t, std::uint64_t, std::uint64_t, void*) -> std::int32_t {
    throw "not even an exception";
  };
  ok(s.append(some_tokens(5)));
  CHECK(s.prefill(o).code() == V4I_E_INTERNAL);
  ok(s.step());
}

TEST_CASE("Inside a callback the session may be read, not used or changed") {
  v4infer::Session s = prompted();
  std::vector<v4i_status> got;
  ok(s.generate(tokens(1), [&](const v4i_step&) {
    const float* logits = nullptr;
    std::size_t n = 0;
    got.push_back(v4i_session_logits(s.get(), &logits, &n, nullptr));
    got.push_back(s.top_probs(3).error().code());
    got.push_back(s.info().error().code());
    got.push_back(s.tokens().error().code());
    got.push_back(s.metrics().error().code());
    got.push_back(s.append("x").code());
    got.push_back(s.step().error().code());
    got.push_back(s.fork().error().code());
    return false;
  }));
  CHECK(got == std::vector<v4i_status>{0, 0, 0, 0, 0, V4I_E_BUSY, V4I_E_BUSY, V4I_E_BUSY});
}

TEST_CASE("A session released inside its own callback ends with the call") {
  v4i_session* raw = nullptr;
  REQUIRE(v4i_session_create(model().get(), nullptr, &raw, nullptr) == V4I_OK);
  REQUIRE(v4i_session_append_text(raw, "x", 1, 0, nullptr) == V4I_OK);
  auto o = tokens(3);
  o.on_step = [](v4i_session* s, const v4i_step*, void*) -> std::int32_t {
    v4i_session_release(s);
    return 1;
  };
  REQUIRE(v4i_session_generate(raw, &o, nullptr, nullptr, nullptr) == V4I_OK);
}

TEST_CASE("eval gives the logits that prefill ends with, at every position") {
  const auto t = some_tokens(12);
  v4infer::Session s = new_session();
  const auto all = ok(s.eval(t, 512));
  for (const std::size_t n : {std::size_t{1}, std::size_t{5}, std::size_t{12}}) {
    v4infer::Session one = new_session();
    ok(one.append(v4infer::Tokens(t.begin(), t.begin() + static_cast<std::ptrdiff_t>(n))));
    ok(one.prefill());
    const float* logits = nullptr;
    std::size_t count = 0;
    REQUIRE(v4i_session_logits(one.get(), &logits, &count, nullptr) == V4I_OK);
    REQUIRE(count == 512);
    CHECK(std::memcmp(logits, all.data() + (n - 1) * 512, 512 * sizeof(float)) == 0);
  }
  std::vector<float> out(512 * 12);
  refused(V4I_E_INVALID, "cap is 6143 floats", [&](v4i_error** err) {
    return v4i_session_eval(s.get(), t.data(), t.size(), nullptr, out.data(), out.size() - 1, err);
  });
  refused(V4I_E_INVALID, "cap is", [&](v4i_error** err) {
    return v4i_session_eval(s.get(), t.data(), ~std::size_t{0}, nullptr, out.data(), 8, err);
  });
  refused(V4I_E_INVALID, "logits is NULL", [&](v4i_error** err) {
    return v4i_session_eval(s.get(), t.data(), 1, nullptr, nullptr, 512, err);
  });
}
