// TopK against sorting everything.
#include "lib/forward/cpu/topk.h"

#include <cmath>
#include <random>
#include <vector>

#include "tests/support/catch.h"

using v4i::forward::cpu::TopK;

namespace {

// The definition: higher scores first, ties to the lower row.
std::vector<std::int32_t> by_sorting(const std::vector<float>& score, std::size_t k) {
  std::vector<std::int32_t> order(score.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return score[static_cast<std::size_t>(a)] > score[static_cast<std::size_t>(b)];
  });
  order.resize(k);
  std::sort(order.begin(), order.end());
  return order;
}

// Scores of few values, so that the k-th best ties with many; -0 and 0 are one of them.
std::vector<float> scores(std::size_t n, int values, int order, unsigned seed) {
  std::mt19937 g(seed);
  std::vector<float> s(n);
  for (float& v : s)
    v = static_cast<float>(static_cast<int>(g() % static_cast<unsigned>(values)) - values / 2);
  for (float& v : s)
    if (v == 0.0f && g() % 2 == 0) v = -0.0f;
  if (order > 0) std::sort(s.begin(), s.end());
  if (order < 0) std::sort(s.begin(), s.end(), std::greater<>());
  return s;
}

}  // namespace

TEST_CASE("TopK takes what sorting takes, for any pieces and any split over threads",
          "[forward][topk]") {
  for (std::size_t k : {1u, 16u, 512u}) {
    for (std::size_t n : {k, k + 1, 2 * k + 3, std::size_t{5000}}) {
      for (int values : {1, 3, 100, 1 << 20}) {
        for (int order : {-1, 0, 1}) {
          const auto s = scores(n, values, order, unsigned(n + k));
          const auto want = by_sorting(s, k);
          for (std::size_t parts : {1u, 2u, 5u}) {
            std::vector<std::vector<std::uint64_t>> room(parts);
            std::vector<TopK> best;
            for (std::size_t i = 0; i < parts; ++i) {
              room[i].resize(
                  static_cast<std::size_t>(TopK::room_for(static_cast<std::int64_t>(k))));
              best.emplace_back(room[i].data(), static_cast<std::int64_t>(k));
              for (std::size_t j = n * i / parts, end = n * (i + 1) / parts; j < end;) {
                const std::size_t m = std::min<std::size_t>(end - j, 1 + j % 97);
                best[i].add(&s[j], static_cast<std::int64_t>(m), static_cast<std::int64_t>(j));
                j += m;
              }
              best[i].keep_best();
            }
            for (std::size_t i = 1; i < parts; ++i) best[0].add(best[i]);
            std::vector<std::int32_t> got(k);
            best[0].rows(got.data());
            CAPTURE(k, n, values, order, parts);
            REQUIRE(got == want);
          }
        }
      }
    }
  }
}

TEST_CASE("TopK bears scores that are not numbers", "[forward][topk]") {
  std::vector<std::uint64_t> room(static_cast<std::size_t>(TopK::room_for(4)));
  TopK best(room.data(), 4);
  for (int i = 0; i < 2000; ++i) {
    const float s = i % 3 == 0 ? NAN : static_cast<float>(i);
    best.add(&s, 1, i);
  }
  std::vector<std::int32_t> rows(4);
  CHECK(best.rows(rows.data()) == 4);
  for (int i = 0; i < 4; ++i) REQUIRE((rows[i] >= 0 && rows[i] < 2000));
}
