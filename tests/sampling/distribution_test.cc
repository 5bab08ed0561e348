// What is drawn, how often: chi-square against exact shares, and a reference
// implementation by full sort.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "lib/sampling/sampler.h"
#include "tests/support/catch.h"

namespace v4i::sampling {
namespace {

using Logits = std::vector<float>;

double chi_square(const std::vector<std::int64_t>& seen, const std::vector<double>& share) {
  double n = 0, sum = 0;
  for (const auto s : seen) n += static_cast<double>(s);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (share[i] == 0) {
      CHECK(seen[i] == 0);
      continue;
    }
    const double want = n * share[i], d = static_cast<double>(seen[i]) - want;
    sum += d * d / want;
  }
  return sum;
}

// The shares the options ask for, by the definition: every token sorted, every
// step on the whole list.
std::vector<double> exact_shares(const Options& o, const Logits& x) {
  std::vector<std::pair<double, int>> p;
  for (std::size_t i = 0; i < x.size(); ++i) p.emplace_back(x[i], static_cast<int>(i));
  std::sort(p.begin(), p.end(), [](auto& a, auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  const double top = p[0].first;
  for (auto& [v, i] : p) v = std::exp((v - top) / o.temperature);
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < p.size())
    p.resize(static_cast<std::size_t>(o.top_k));
  double sum = 0, held = 0;
  for (auto& [v, i] : p) sum += v;
  std::size_t n = 0;
  if (o.top_p < 1) {
    while (n < p.size() && held < o.top_p * sum) held += p[n++].first;
    p.resize(n);
  }
  if (o.min_p > 0) std::erase_if(p, [&](auto& e) { return e.first < o.min_p; });
  sum = 0;
  for (auto& [v, i] : p) sum += v;
  std::vector<double> share(x.size());
  for (auto& [v, i] : p) share[static_cast<std::size_t>(i)] = v / sum;
  return share;
}

Logits normal_logits(std::size_t n, std::uint32_t seed, float spread) {
  std::mt19937 g(seed);
  std::normal_distribution<float> d(0, spread);
  Logits x(n);
  for (float& v : x) v = d(g);
  return x;
}

TEST_CASE("draws follow the exact shares of every combination of options") {
  Options t, k, p, m, all;
  t.temperature = 0.7f;
  k.top_k = 5;
  p.top_p = 0.8f;
  m.min_p = 0.1f;
  all.temperature = 1.3f;
  all.top_k = 12;
  all.top_p = 0.9f;
  all.min_p = 0.05f;
  const Logits x = normal_logits(16, 3, 1.5f);
  for (const Options& o : {Options{}, t, k, p, m, all}) {
    const Sampler s(o);
    Scratch scratch;
    std::vector<std::int64_t> by_position(16), by_seed(16);
    for (std::uint64_t i = 0; i < 20000; ++i) {
      ++by_position[static_cast<std::size_t>(s.sample(x, {}, 42, i, &scratch).token)];
      ++by_seed[static_cast<std::size_t>(s.sample(x, {}, i, 42, &scratch).token)];
    }
    // 15 degrees of freedom: 37.7 is exceeded once in a thousand.
    CHECK(chi_square(by_position, exact_shares(o, x)) < 37.7);
    CHECK(chi_square(by_seed, exact_shares(o, x)) < 37.7);
  }
}

TEST_CASE("a large vocabulary draws only what a full sort would allow") {
  std::mt19937 g(11);
  for (std::uint32_t round = 0; round < 40; ++round) {
    Options o;
    o.temperature = 0.3f + 0.1f * static_cast<float>(g() % 20);
    if (g() % 2) o.top_k = 1 + static_cast<int>(g() % 300);
    if (g() % 2) o.top_p = 0.05f + 0.9f * static_cast<float>(g() % 1000) / 1000;
    if (g() % 2) o.min_p = 0.001f * static_cast<float>(1 + g() % 500);
    const Logits x = normal_logits(4000, round, 2.5f);
    const auto share = exact_shares(o, x);
    const Sampler s(o);
    Scratch scratch;
    for (std::uint64_t i = 0; i < 200; ++i)
      CHECK(share[static_cast<std::size_t>(s.sample(x, {}, 5, i, &scratch).token)] > 0);
    if (o.top_p < 1 || o.min_p > 0 || o.top_k > 0) {
      const auto allowed =
          std::count_if(share.begin(), share.end(), [](double v) { return v > 0; });
      CHECK(static_cast<std::ptrdiff_t>(scratch.candidates.size()) == allowed);
    }
  }
}

TEST_CASE("top-k cuts a tie towards the lower ids, and one token is no choice") {
  Options o;
  o.top_k = 2;
  const Sampler two(o);
  o.top_k = 1;
  const Sampler one(o);
  o = {};
  o.top_p = 1e-6f;
  const Sampler tiny(o);
  Scratch scratch;
  for (std::uint64_t i = 0; i < 300; ++i) {
    CHECK(two.sample(Logits{1, 1, 1, 1}, {}, 9, i, &scratch).token < 2);
    CHECK(one.sample(Logits{0, 2, 2, 1}, {}, 9, i, &scratch).token == 1);
    CHECK(tiny.sample(Logits{0, 2, 2, 1}, {}, 9, i, &scratch).token == 1);
  }
}

TEST_CASE("a very small temperature is greedy and a very large one is even") {
  Options cold, hot;
  cold.temperature = 1e-30f;
  hot.temperature = 1e30f;
  const Logits x = {0, 3, 2.999f, -7};
  Scratch scratch;
  std::vector<std::int64_t> seen(4);
  for (std::uint64_t i = 0; i < 4000; ++i) {
    CHECK(Sampler(cold).sample(x, {}, 1, i, &scratch).token == 1);
    ++seen[static_cast<std::size_t>(Sampler(hot).sample(x, {}, 1, i, &scratch).token)];
  }
  CHECK(chi_square(seen, std::vector<double>(4, 0.25)) < 16.3);  // 3 degrees, once in a thousand
}

TEST_CASE("the same arguments give the same token whatever was sampled in between") {
  const Sampler s;
  const Logits x = normal_logits(300, 8, 2);
  Scratch a, b;
  for (std::uint64_t i = 0; i < 100; ++i) {
    const auto first = s.sample(x, {}, 77, i, &a);
    s.sample(normal_logits(500, static_cast<std::uint32_t>(i), 1), {}, 3, 9, &b);
    const auto again = s.sample(x, {}, 77, i, &b);
    CHECK(first.token == again.token);
    CHECK(first.logprob == again.logprob);
  }
}

TEST_CASE("the random numbers of neighbouring seeds and positions are unrelated") {
  // 64 x 64 cells of (number, next number): 4,095 degrees of freedom; 4,380 is
  // exceeded less than once in a thousand.
  for (const bool along_seed : {false, true}) {
    std::vector<std::int64_t> cell(4096);
    for (std::uint64_t i = 0; i < 200000; ++i) {
      const double u = along_seed ? uniform(i, 5) : uniform(5, i);
      const double v = along_seed ? uniform(i + 1, 5) : uniform(5, i + 1);
      REQUIRE((u >= 0 && u < 1));
      ++cell[static_cast<std::size_t>(u * 64) * 64 + static_cast<std::size_t>(v * 64)];
    }
    CHECK(chi_square(cell, std::vector<double>(4096, 1.0 / 4096)) < 4380);
  }
}

TEST_CASE("the random numbers stay what they are: saved sessions depend on them") {
  // Computed with Python's integers.
  CHECK(uniform(0, 0) * 0x1p53 == 5876733520225071.0);
  CHECK(uniform(42, 0) * 0x1p53 == 3092098744885774.0);
  CHECK(uniform(42, 1000000) * 0x1p53 == 4680326052925995.0);
  CHECK(uniform(~std::uint64_t{0}, 3) * 0x1p53 == 8349329896299851.0);
}

}  // namespace
}  // namespace v4i::sampling
