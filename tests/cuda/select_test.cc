// kernels: select
// Selection by score against a sort.
#include "kernels/cuda/select.h"

#include <numeric>

#include "kernels/formats.h"
#include "tests/cuda/stored_rows.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;

constexpr int kRatio = 4;

// The topk best rows, rising; ties go to the lower row.
std::vector<std::int32_t> best_rows(const float* score, std::int64_t rows, std::int64_t topk) {
  std::vector<std::int32_t> row(static_cast<std::size_t>(rows));
  std::iota(row.begin(), row.end(), 0);
  std::stable_sort(row.begin(), row.end(),
                   [&](std::int32_t a, std::int32_t b) { return score[a] > score[b]; });
  row.resize(static_cast<std::size_t>(topk));
  std::sort(row.begin(), row.end());
  return row;
}

enum class Kind { kNormal, kFew, kEqual, kZeros, kNegative, kRising };

float score_of(Kind kind, std::int64_t row, std::mt19937& g) {
  std::normal_distribution<float> normal;
  switch (kind) {
    case Kind::kNormal:
      return normal(g);
    case Kind::kFew:  // many equal ones, on both sides of zero
      return static_cast<float>(static_cast<int>(g() % 7) - 3) * 0.25f;
    case Kind::kEqual:
      return -1.5f;
    case Kind::kZeros:  // one zero for the selection
      return g() % 16 == 0 ? 1.0f : g() % 2 == 0 ? 0.0f : -0.0f;
    case Kind::kNegative:
      return -std::fabs(normal(g)) * 1e-30f;
    case Kind::kRising:
      return static_cast<float>(row);
  }
  return 0;
}

struct Case {
  std::vector<std::int64_t> rows;  // that the tokens see
  int topk;
  Kind kind;
  bool native;
};

void check(const Case& c, const std::vector<std::uint64_t>& seeds) {
  std::mt19937 g(std::random_device{}());
  const auto n = c.rows.size();
  const std::int64_t most = *std::max_element(c.rows.begin(), c.rows.end());
  std::vector<Token> tokens(n);
  const std::int64_t stride = most + 3;
  emulate::Buffer<float> score(n * static_cast<std::size_t>(stride));
  for (std::size_t t = 0; t < n; ++t) {
    tokens[t].position = c.rows[t] * kRatio - 1 + static_cast<int>(g() % kRatio);
    for (std::int64_t r = 0; r < c.rows[t]; ++r) {
      const float s = score_of(c.kind, r, g);
      score[t * static_cast<std::size_t>(stride) + static_cast<std::size_t>(r)] =
          c.native ? kernels::round_bf16(s) : s;
    }
  }
  const emulate::Buffer<Token> token(tokens);
  const std::int64_t candidates = top_rows_candidates(most, c.topk);
  for (const std::uint64_t seed : seeds) {
    INFO("topk " << c.topk << ", most rows " << most << ", kind " << static_cast<int>(c.kind));
    const auto room = n * static_cast<std::size_t>(candidates);
    emulate::Buffer<float> candidate_score(room);
    emulate::Buffer<std::int32_t> candidate_row(room);
    emulate::Buffer<std::int32_t> selected(n * static_cast<std::size_t>(c.topk));
    TopRowsArgs a;
    a.shape.ratio = kRatio;
    a.shape.topk = c.topk;
    a.shape.native = c.native ? 1 : 0;
    a.tokens = static_cast<std::int32_t>(n);
    a.token = token.data();
    a.score = score.data();
    a.score_stride = stride;
    a.candidate_score = candidate_score.data();
    a.candidate_row = candidate_row.data();
    a.candidate_stride = candidates;
    a.selected = selected.data();
    emulate::run(launch_top_rows(a, most), a, seed);
    emulate::run(launch_top_rows_merge(a, most), a, seed);
    for (std::size_t t = 0; t < n; ++t) {
      const std::int32_t* got = selected.data() + t * static_cast<std::size_t>(c.topk);
      std::vector<std::int32_t> want(static_cast<std::size_t>(c.topk));
      if (c.rows[t] > c.topk)
        want = best_rows(score.data() + t * static_cast<std::size_t>(stride), c.rows[t], c.topk);
      else  // not touched
        std::memset(want.data(), emulate::Buffer<int>::kPoison, want.size() * sizeof want[0]);
      CHECK(std::equal(want.begin(), want.end(), got));
    }
  }
}

constexpr Kind kKinds[] = {Kind::kNormal, Kind::kFew,      Kind::kEqual,
                           Kind::kZeros,  Kind::kNegative, Kind::kRising};

TEST_CASE("The best rows of one chunk", "[cuda][select]") {
  const auto seeds = emulate::schedules();
  for (const Kind kind : kKinds)
    for (const bool native : {true, false}) {
      check({{8, 9, 33, 7, 700}, 8, kind, native}, seeds);
      check({{600, 513}, 512, kind, native}, {seeds[0]});
    }
  check({{2, 1, 40}, 1, Kind::kFew, true}, seeds);
  check({{1025}, 1024, Kind::kFew, true}, seeds);
}

TEST_CASE("The best rows of several chunks", "[cuda][select]") {
  const auto seeds = emulate::schedules();
  for (const Kind kind : kKinds)
    check({{kSelectChunk, kSelectChunk + 1, 2 * kSelectChunk + 100, 90},
           512,
           kind,
           kind != Kind::kNormal},
          {seeds[0]});
  check({{3 * kSelectChunk - 5}, 3, Kind::kFew, false}, {seeds[0]});
}

TEST_CASE("The best rows at a million tokens", "[cuda][select]") {
  check({{262144}, 1024, Kind::kFew, true}, {emulate::schedules()[0]});
}

TEST_CASE("More rows than a chunk are chosen", "[cuda][select]") {
  const auto seeds = emulate::schedules();
  check({{2 * kSelectChunk + 7}, kSelectChunk + 2, Kind::kFew, false}, {seeds[0]});
  check({{3 * kSelectChunk}, 2 * kSelectChunk, Kind::kNormal, true}, {seeds[0]});
}

}  // namespace
}  // namespace v4i
