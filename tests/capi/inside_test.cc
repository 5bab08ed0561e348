// Sections 9, 10 and 11 of v4infer.h: samplers, logits, metrics, and the functions
// that exist with nothing behind them.
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/capi/fixture.h"

using namespace v4i::test;

namespace {

v4infer::Session prompted() {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(6)));
  return s;
}

void sampler_refused(v4i_sampler_options o, const char* word) {
  v4i_sampler* out = nullptr;
  refused(V4I_E_INVALID, word,
          [&](v4i_error** err) { return v4i_sampler_create(model().get(), &o, &out, err); });
  CHECK(out == nullptr);
}

}  // namespace

TEST_CASE("Sampler options out of range are refused by name") {
  auto o = v4infer::init<v4i_sampler_options>();
  o.temperature = -1;
  sampler_refused(o, "temperature");
  o = v4infer::init<v4i_sampler_options>();
  o.top_p = 1.5f;
  sampler_refused(o, "top_p");
  o = v4infer::init<v4i_sampler_options>();
  o.top_k = -2;
  sampler_refused(o, "top_k");
  o = v4infer::init<v4i_sampler_options>();
  o.min_p = 2;
  sampler_refused(o, "min_p");
  o = v4infer::init<v4i_sampler_options>();
  o.repeat_penalty = -3;
  sampler_refused(o, "repeat_penalty");
  o = v4infer::init<v4i_sampler_options>();
  o.temperature = std::nanf("");
  sampler_refused(o, "temperature");
  o = v4infer::init<v4i_sampler_options>();
  o.greedy = 2;
  sampler_refused(o, "greedy is 2, allowed is 0 to 1");
}

TEST_CASE("Greedy takes the best token, a bias another one, NULL restores the default") {
  v4infer::Session s = prompted();
  ok(s.prefill());
  const auto top = ok(s.top_probs(2));
  REQUIRE(top.size() == 2);
  CHECK(top[0].logprob >= top[1].logprob);
  auto greedy = ok(v4infer::Sampler::greedy(model()));
  ok(s.set_sampler(greedy));
  v4infer::Session biased = ok(s.fork());
  CHECK(ok(s.step()).tokens[0] == top[0].token);
  ok(greedy.set_bias({{top[0].token, -1e9f}}));  // the session shares the sampler
  CHECK(ok(biased.step()).tokens[0] == top[1].token);
  REQUIRE(v4i_session_set_sampler(s.get(), nullptr, nullptr, nullptr) == V4I_OK);
  ok(s.step());
}

TEST_CASE("A bias for no token, and a sampler of another model, are refused") {
  auto p = ok(v4infer::Sampler::greedy(model()));
  CHECK(p.set_bias({{512, 1.0f}}).code() == V4I_E_INVALID);
  CHECK(p.set_bias({{-1, 1.0f}}).code() == V4I_E_INVALID);
  CHECK(p.set_bias({{1, std::nanf("")}}).code() == V4I_E_INVALID);
  ok(p.set_bias({}));
  auto other = ok(v4infer::Session::create(plain_model()));
  CHECK(other.set_sampler(p).code() == V4I_E_INVALID);
  refused(V4I_E_INVALID, "sampler is NULL",
          [](v4i_error** err) { return v4i_sampler_set_bias(nullptr, nullptr, 0, err); });
}

TEST_CASE("top_probs are the log-softmax of the logits, best first") {
  v4infer::Session s = prompted();
  const float* logits = nullptr;
  std::size_t n = 0;
  refused(V4I_E_STATE, "",
          [&](v4i_error** err) { return v4i_session_logits(s.get(), &logits, &n, err); });
  CHECK(s.top_probs(3).error().code() == V4I_E_STATE);
  ok(s.prefill());
  REQUIRE(v4i_session_logits(s.get(), &logits, &n, nullptr) == V4I_OK);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]));
  const auto top = ok(s.top_probs(1000));
  REQUIRE(top.size() == 512);
  double total = 0;
  for (std::size_t i = 0; i < top.size(); ++i) {
    CHECK(std::abs(top[i].logprob - (logits[top[i].token] - std::log(sum))) < 1e-4);
    if (i > 0) CHECK(top[i].logprob <= top[i - 1].logprob);
    total += std::exp(static_cast<double>(top[i].logprob));
  }
  CHECK(std::abs(total - 1) < 1e-4);
  CHECK(ok(s.top_probs(0)).empty());
}

TEST_CASE("Metrics count prefilled and decoded tokens and their time") {
  v4infer::Session s = prompted();
  ok(s.prefill());
  for (int i = 0; i < 3; ++i) ok(s.step());
  const auto m = ok(s.metrics());
  CHECK(m.prefill_tokens + m.decode_tokens == 6 + 2);  // the last token is pending
  CHECK(m.decode_tokens >= 2);
  CHECK(m.prefill_ns > 0);
  CHECK(m.decode_ns > 0);
  CHECK(m.first_token_ns > 0);
}

TEST_CASE(
    "A timeline adds up part by part, counts whole runs, and is recorded only when asked for") {
  v4infer::Session plain = prompted();
  v4i_buffer* b = nullptr;
  refused(V4I_E_STATE, "capture", [&](v4i_error** err) {
    return v4i_session_timeline(plain.get(), V4I_FORMAT_JSON, &b, err);
  });
  auto options = v4infer::init<v4i_session_options>();
  options.capture = 4;
  auto s = ok(v4infer::Session::create(model(), options));
  ok(s.append(some_tokens(6)));
  ok(s.prefill());
  for (int i = 0; i < 3; ++i) ok(s.step());
  refused(V4I_E_UNSUPPORTED, "JSON",
          [&](v4i_error** err) { return v4i_session_timeline(s.get(), V4I_FORMAT_CSV, &b, err); });
  REQUIRE(v4i_session_timeline(s.get(), V4I_FORMAT_JSON, &b, nullptr) == V4I_OK);
  const auto json = nlohmann::json::parse(
      std::string(static_cast<const char*>(v4i_buffer_data(b)), v4i_buffer_size(b)));
  v4i_buffer_release(b);
  CHECK(json["prefill"]["tokens"] == 6);
  CHECK(json["decode"]["runs"] == 2);  // the first step finds its logits, the third is last
  for (const char* kind : {"prefill", "decode"}) {
    std::uint64_t sum = 0;
    for (const auto& [name, part] : json[kind]["parts"].items())
      sum += part["ns"].get<std::uint64_t>();
    CHECK(sum == json[kind]["total_ns"]);
    CHECK(sum > 0);
  }
  const auto m = ok(s.metrics());
  CHECK(json["decode"]["total_ns"] <= m.decode_ns);
  // Two tokens read every dense tensor twice and their experts.
  const auto d = nlohmann::json::parse(ok(model().describe()));
  const auto& head = d["sizes"]["per_token"]["head"];
  CHECK(json["decode"]["parts"]["head"]["bytes"] == 2 * head["bytes"].get<std::uint64_t>());
  CHECK(json["prefill"]["parts"]["head"]["flops"] == head["flops"]);
  CHECK(json["decode"]["parts"]["routed_experts"]["bytes"] ==
        2 * d["sizes"]["per_token"]["routed_experts"]["bytes"].get<std::uint64_t>());
}

TEST_CASE("What is not built says UNSUPPORTED with a sentence, after its arguments") {
  v4infer::Session s = prompted();
  std::size_t n = 0;
  v4i_buffer* b = nullptr;
  refused(V4I_E_UNSUPPORTED, "embeddings", [&](v4i_error** err) {
    return v4i_session_embedding(s.get(), V4I_EMBED_LAST, nullptr, 0, &n, err);
  });
  refused(V4I_E_UNSUPPORTED, "expert",
          [&](v4i_error** err) { return v4i_session_expert_stats(s.get(), nullptr, 0, &n, err); });
  refused(V4I_E_UNSUPPORTED, "n-gram",
          [&](v4i_error** err) { return v4i_session_engram_stats(s.get(), nullptr, err); });
  v4i_grammar* g = nullptr;
  refused(V4I_E_UNSUPPORTED, "grammars", [&](v4i_error** err) {
    return v4i_grammar_compile(model().get(), V4I_GRAMMAR_GBNF, "x", 1, &g, err);
  });
  CHECK(v4i_session_embedding(nullptr, 0, nullptr, 0, &n, nullptr) == V4I_E_INVALID);
  CHECK(v4i_session_timeline(nullptr, V4I_FORMAT_JSON, &b, nullptr) == V4I_E_INVALID);
  CHECK(b == nullptr);
  v4i_grammar_release(nullptr);
}
