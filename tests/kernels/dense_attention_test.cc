// Dense attention of every kernel table that runs here against the scalar one, and against itself
// in other company.
#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

using namespace v4i::kernels;
using namespace v4i::test;

namespace {

// Keys as columns of tiles, values as rows.
struct Head {
  int dim, keys;
  std::vector<float> k, v;

  Head(int d, int n, unsigned seed) : dim(d), keys(n), v(normal(std::size_t(n * d), seed)) {
    const auto rows = normal(std::size_t(n * d), seed + 1);
    const int tiles = (n + kDenseTile - 1) / kDenseTile;
    k.resize(std::size_t(tiles * kDenseTile * d));
    for (int i = 0; i < n; ++i)
      for (int c = 0; c < d; ++c)
        k[std::size_t((i / kDenseTile * d + c) * kDenseTile + i % kDenseTile)] =
            rows[std::size_t(i * d + c)];
  }
};

struct Found {
  std::vector<float> top, mass, sum;
  bool finite = true;
};

Found attend(const KernelTable& table, const Head& h, const float* q, int queries, int stride,
             bool round) {
  Found f;
  f.top.assign(std::size_t(queries), -INFINITY);
  f.mass.assign(std::size_t(queries), 0.0f);
  f.sum.assign(std::size_t(queries * h.dim), 0.0f);
  for (int i = 0; i < h.keys; i += kDenseTile) {
    const DenseAttentionArgs a{q,
                               queries,
                               stride,
                               h.k.data() + std::ptrdiff_t(i) * h.dim,
                               h.v.data() + std::ptrdiff_t(i) * h.dim,
                               std::min(kDenseTile, h.keys - i),
                               h.dim,
                               0.3f,
                               round,
                               f.top.data(),
                               f.mass.data(),
                               f.sum.data()};
    f.finite = table.dense_attention(a) && f.finite;
  }
  return f;
}

constexpr int kQueries = 7, kStride = 90;

}  // namespace

TEST_CASE("dense attention finds what the scalar kernel finds", "[kernels][attention]") {
  for (const KernelTable* table : tables()) {
    for (const int dim : {64, 80, 32, 20, 8}) {
      for (const int keys : {1, 15, 16, 64, 65, 200, 257}) {
        for (const bool round : {false, true}) {
          CAPTURE(table->name, dim, keys, round);
          const Head h(dim, keys, unsigned(dim * keys));
          auto q = normal(kQueries * kStride, 3);
          for (int c = 0; c < dim; ++c)
            q[std::size_t(2 * kStride + c)] *= 40;  // one key has it all
          const Found want = attend(kScalarKernels, h, q.data(), kQueries, kStride, round);
          const Found got = attend(*table, h, q.data(), kQueries, kStride, round);
          REQUIRE(want.finite);
          REQUIRE(got.finite);
          // A weight that is rounded to bf16 may fall to the other side: 2^-8 of it.
          const float unit = round ? 0x1p-7f : 0x1p-17f;
          for (int i = 0; i < kQueries; ++i) {
            const auto at = std::size_t(i);
            REQUIRE(std::abs(got.top[at] - want.top[at]) <= 1e-5f * (1 + std::abs(want.top[at])));
            for (int c = 0; c < dim; ++c) {
              const auto j = std::size_t(i * dim + c);
              const float a = got.sum[j] / got.mass[at], b = want.sum[j] / want.mass[at];
              REQUIRE(std::abs(a - b) <= 8 * unit * (i == 2 ? 8.0f : 1.0f));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("what a query finds does not depend on the others, nor on the instruction set's width",
          "[kernels][attention]") {
  const Head h(64, 150, 9);
  const auto q = normal(kQueries * kStride, 4);
  std::vector<float> sums, masses;  // of the first that is not the scalar one
  for (const KernelTable* table : tables()) {
    const Found together = attend(*table, h, q.data(), kQueries, kStride, true);
    for (int i = 0; i < kQueries; ++i) {
      const Found alone = attend(*table, h, q.data() + i * kStride, 1, kStride, true);
      CAPTURE(table->name, i);
      REQUIRE(alone.mass[0] == together.mass[std::size_t(i)]);
      REQUIRE(std::equal(alone.sum.begin(), alone.sum.end(), together.sum.begin() + 64 * i));
    }
    if (table == &kScalarKernels) continue;
    if (sums.empty()) sums = together.sum, masses = together.mass;
    REQUIRE(same_bits(together.sum, sums));
    REQUIRE(same_bits(together.mass, masses));
  }
}

TEST_CASE("a logit that is no finite number is seen, wherever it is", "[kernels][attention]") {
  const auto q = normal(5 * kStride, 4);
  const auto finite_with = [&](const KernelTable& table, float bad, int key) {
    Head h(32, 81, 5);
    h.k[std::size_t((key / kDenseTile * 32 + 3) * kDenseTile + key % kDenseTile)] = bad;
    return attend(table, h, q.data(), 5, kStride, false).finite;
  };
  for (const KernelTable* table : tables()) {
    CAPTURE(table->name);
    for (const int key : {0, 15, 63, 64, 80}) {
      CAPTURE(key);
      CHECK(finite_with(*table, 1.0f, key));
      CHECK_FALSE(finite_with(*table, NAN, key));
      CHECK_FALSE(finite_with(*table, INFINITY, key));
      CHECK_FALSE(finite_with(*table, -INFINITY, key));
    }
  }
}
