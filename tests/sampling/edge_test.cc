// Edge values of the sampler: options, ties, NaN, infinities, penalty, bias.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/sampling/sampler.h"
#include "tests/support/catch.h"
#include "tests/support/count_new.h"

namespace v4i::sampling {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
using Logits = std::vector<float>;
using Recent = std::vector<std::int32_t>;

Choice pick(const Sampler& s, const Logits& x, const Recent& recent = {}, std::uint64_t seed = 1,
            std::uint64_t position = 0) {
  Scratch scratch;
  return s.sample(x, recent, seed, position, &scratch);
}

Options greedy() {
  Options o;
  o.greedy = true;
  return o;
}

std::string refusal(const Options& o) {
  try {
    Sampler s(o);
  } catch (const Error& e) {
    CHECK(e.code() == Code::kInvalid);
    return e.text();
  }
  return "accepted";
}

TEST_CASE("an option out of range is refused with its name, value and range") {
  auto with = [](auto set) {
    Options o;
    set(o);
    return refusal(o);
  };
  CHECK(with([](Options& o) { o.temperature = 0; }) ==
        "sampler option temperature is 0, allowed is a number above 0");
  CHECK(with([](Options& o) { o.temperature = kNan; }).find("temperature") != std::string::npos);
  CHECK(with([](Options& o) { o.temperature = kInf; }).find("temperature") != std::string::npos);
  CHECK(with([](Options& o) { o.top_p = 0; }).find("top_p") != std::string::npos);
  CHECK(with([](Options& o) { o.top_p = 1.5f; }).find("top_p") != std::string::npos);
  CHECK(with([](Options& o) { o.top_p = kNan; }).find("top_p") != std::string::npos);
  CHECK(with([](Options& o) { o.min_p = 1.1f; }).find("min_p") != std::string::npos);
  CHECK(with([](Options& o) { o.min_p = kNan; }).find("min_p") != std::string::npos);
  CHECK(with([](Options& o) { o.repeat_penalty = 0; }).find("penalty") != std::string::npos);
  CHECK(with([](Options& o) { o.repeat_penalty = kInf; }).find("penalty") != std::string::npos);
  CHECK(with([](Options& o) { o.top_k = 0; }).find("top_k") != std::string::npos);
  CHECK(with([](Options& o) { o.top_k = -2; }).find("top_k") != std::string::npos);
  CHECK(with([](Options& o) { o.repeat_window = 0; }).find("repeat_window") != std::string::npos);
  CHECK(refusal(Options{}) == "accepted");
}

TEST_CASE("greedy takes the largest number and breaks ties towards the lower id") {
  const Sampler s(greedy());
  CHECK(pick(s, {1, 3, 3, 2}).token == 1);
  CHECK(pick(s, {kNan, -5, -4, kNan}).token == 2);
  CHECK(pick(s, {1, kInf, kInf}).token == 1);
  CHECK(pick(s, {-kInf, kNan, -1e30f}).token == 2);
}

TEST_CASE("a NaN or -inf logit is never drawn, +inf always is") {
  for (std::uint64_t p = 0; p < 200; ++p) {
    CHECK(pick(Sampler(), {kNan, 0, -kInf, kNan}, {}, 7, p).token == 1);
    const auto t = pick(Sampler(), {1, kInf, 80, kInf}, {}, 7, p).token;
    CHECK((t == 1 || t == 3));
  }
}

TEST_CASE("nothing to choose from is an error, not a token") {
  for (const Options& o : {Options{}, greedy()}) {
    const Sampler s(o);
    CHECK_THROWS_AS(pick(s, {kNan, kNan}), Error);
    CHECK_THROWS_AS(pick(s, {-kInf, kNan}), Error);
    CHECK_THROWS_AS(pick(s, {}), Error);
  }
}

TEST_CASE("the penalty divides positive and multiplies negative logits, each token once") {
  Options o = greedy();
  o.repeat_penalty = 2;
  const Sampler s(o);
  CHECK(pick(s, {4, 3, 2.5f}, {0}).token == 1);        // 4 -> 2
  CHECK(pick(s, {4, 1.5f, 1}, {0, 0, 0}).token == 0);  // 4 -> 2, not 0.5
  CHECK(pick(s, {-1, -1.5f}, {0}).token == 1);         // -1 -> -2
  CHECK(pick(s, {-1, -2.5f}, {0, 0}).token == 0);      // -1 -> -2, not -4
  CHECK(pick(s, {kNan, 1}, {0, 0}).token == 1);
  CHECK(pick(s, {1, 2}, {-1, 5, 1000000}).token == 1);  // ids of nobody
}

TEST_CASE("the penalty looks back repeat_window tokens and no further") {
  Options o = greedy();
  o.repeat_penalty = 2;
  o.repeat_window = 2;
  const Sampler s(o);
  CHECK(pick(s, {4, 3}, {0, 9, 9}).token == 0);
  CHECK(pick(s, {4, 3}, {0, 9}).token == 1);
  CHECK(pick(s, {4, 3}, {0}).token == 1);
}

TEST_CASE("bias adds, entries of a token add up, -inf bans, empty clears") {
  Sampler s(greedy());
  const Logits x = {1, 2, 3};
  s.set_bias({{0, 2.5f}});
  CHECK(pick(s, x).token == 0);
  s.set_bias({{0, 1.f}, {0, 1.5f}});
  CHECK(pick(s, x).token == 0);
  s.set_bias({{2, -kInf}});
  CHECK(pick(s, x).token == 1);
  s.set_bias({{2, -kInf}, {1, -kInf}, {0, -kInf}});
  CHECK_THROWS_AS(pick(s, x), Error);
  s.set_bias({});
  CHECK(pick(s, x).token == 2);
}

TEST_CASE("a bias that makes no sense is refused and the old one stays") {
  Sampler s(greedy());
  s.set_bias({{0, 9.f}});
  CHECK_THROWS_AS(s.set_bias({{-1, 1.f}}), Error);
  CHECK_THROWS_AS(s.set_bias({{1, kNan}}), Error);
  CHECK_THROWS_AS(s.set_bias({{1, kInf}}), Error);
  CHECK(pick(s, {1, 2, 3}).token == 0);
  s.set_bias({{3, 1.f}});
  CHECK_THROWS_AS(pick(s, {1, 2, 3}), Error);  // the vocabulary ends at 2
}

TEST_CASE("the log-probability is of the raw logits") {
  Options o = greedy();
  o.temperature = 0.1f;
  o.repeat_penalty = 3;
  Sampler s(o);
  s.set_bias({{1, 5.f}});
  const Choice c = pick(s, {1, 2, 3}, {2});
  CHECK(c.token == 1);
  const double total = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0));
  CHECK(c.logprob == Approx(2 - total).margin(1e-6));
  CHECK(pick(Sampler(greedy()), {1, kInf}).logprob == 0);
}

TEST_CASE("log_sum_exp holds for large numbers, for NaN and for nothing") {
  CHECK(log_sum_exp(Logits{1e30f, 1e30f}) == Approx(1e30));
  CHECK(log_sum_exp(Logits{-1e4f, kNan, -1e4f}) == Approx(-1e4 + std::log(2.0)));
  CHECK(log_sum_exp(Logits{1, kInf}) == kInf);
  CHECK(log_sum_exp(Logits{kNan, -kInf}) == -kInf);
  CHECK(log_sum_exp(Logits{}) == -kInf);
}

TEST_CASE("top_logprobs lists the best first, ties to the lower id, no NaN") {
  const auto top = top_logprobs(Logits{1, kNan, 3, 3, -kInf}, 10);
  REQUIRE(top.size() == 4);
  CHECK(top[0].first == 2);
  CHECK(top[1].first == 3);
  CHECK(top[2].first == 0);
  CHECK(top[3].first == 4);
  double sum = 0;
  for (const auto& [token, logprob] : top) sum += std::exp(static_cast<double>(logprob));
  CHECK(sum == Approx(1).margin(1e-6));
  CHECK(top_logprobs(Logits{1, 2}, 1).size() == 1);
  CHECK(top_logprobs(Logits{}, 3).empty());
}

TEST_CASE("sampling allocates nothing after the first call with a vocabulary") {
  Options o;
  o.top_k = 100;
  o.top_p = 0.9f;
  o.min_p = 0.01f;
  o.repeat_penalty = 1.1f;
  Sampler s(o);
  s.set_bias({{3, 1.f}});
  Logits x(5000);
  Recent recent = {1, 2, 3};
  Scratch scratch;
  s.sample(x, recent, 1, 0, &scratch);
  const std::size_t before = test::count_new();
  for (std::uint64_t p = 1; p < 50; ++p) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * p) % 977) / 50;
    s.sample(x, recent, 1, p, &scratch);
  }
  CHECK(test::count_new() == before);
}

}  // namespace
}  // namespace v4i::sampling
