// Index scores of every kernel table that runs here against the scalar one.
#include "kernels/indexer.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i::kernels;
using namespace v4i::test;

namespace {

// Keys in blocks of `block_keys`; some blocks of channels are zero or far apart in scale.
struct Keys {
  int dim;
  bool packed;
  std::int64_t count, block_keys, bytes;
  std::vector<std::vector<std::uint8_t>> memory;
  std::vector<const std::uint8_t*> block;

  Keys(int d, bool p, std::int64_t n, std::int64_t per_block, bool wild)
      : dim(d),
        packed(p),
        count(n),
        block_keys(per_block),
        bytes(p ? d / 2 + (d + 31) / 32 : 4 * d) {
    for (std::int64_t j = 0; j < n; ++j) {
      if (j % per_block == 0) memory.emplace_back(std::size_t(per_block * bytes));
      auto x = normal(std::size_t(d), unsigned(j));
      if (wild && j % 5 == 1)
        for (int c = 0; c < d; ++c) x[std::size_t(c)] *= c / 32 % 2 == 0 ? 1.0f : 0x1p-7f;
      if (wild && j % 37 == 3) std::fill_n(x.begin(), std::min(d, 32), 0.0f);
      std::uint8_t* to = memory.back().data() + j % per_block * bytes;
      if (p)
        pack_key(x.data(), d, to);
      else
        std::memcpy(to, x.data(), std::size_t(bytes));
    }
    for (auto& m : memory) block.push_back(m.data());
  }
};

std::vector<float> run_scores(const KernelTable& k, const Keys& keys, int heads,
                              const std::vector<float>& q, const std::vector<float>& w,
                              bool round) {
  const int queries = int(w.size()) / heads;
  std::vector<float> score(std::size_t(queries * keys.count), NAN);
  std::vector<float> scratch(std::size_t(index_scratch_floats(keys.dim, heads, queries)));
  k.index_scores({keys.dim, heads, keys.packed, keys.block.data(), keys.block_keys, keys.count,
                  keys.bytes, queries, q.data(), w.data(), score.data(), keys.count, round,
                  scratch.data()});
  return score;
}

// Queries as native has them; `wild` makes some heads zero or far apart in scale.
std::vector<float> native_queries(int queries, int heads, int dim, bool wild) {
  auto q = normal(std::size_t(queries * heads * dim), 77);
  for (std::size_t i = 0; i < q.size(); ++i) {
    const std::size_t head = i / std::size_t(dim), block = i % std::size_t(dim) / 32;
    if (wild && head % 7 == 2) q[i] *= block == 0 ? 64.0f : 1.0f;
    if (wild && head % 11 == 5) q[i] = block == 1 ? q[i] : 0.0f;
    if (wild && head % 13 == 6) q[i] = 0;
  }
  fp4_sim(q.data(), q.data(), std::int64_t(q.size()), 32);
  return q;
}

}  // namespace

TEST_CASE("index scores agree with the scalar kernel", "[kernels][indexer]") {
  for (const KernelTable* table : tables()) {
    for (int dim : {128, 16, 20}) {
      for (bool packed : {false, true}) {
        constexpr int kHeads = 6;
        const Keys keys(dim, packed, 37, 16, false);
        const auto q = normal(std::size_t(2 * kHeads * dim), 77), w = normal(2 * kHeads, 78);
        const auto want = run_scores(kScalarKernels, keys, kHeads, q, w, false);
        const auto got = run_scores(*table, keys, kHeads, q, w, false);
        CAPTURE(table->name, dim, packed);
        for (std::size_t j = 0; j < want.size(); ++j)
          REQUIRE(std::fabs(got[j] - want[j]) <= 1e-5f * float(dim) * kHeads);
      }
    }
  }
}

// Integers make every dot product exact on the way to its rounding, so only the sum over heads
// differs: by its order, and by one rounding of the result to bf16.
TEST_CASE("native index scores are the scalar kernel's up to the order of the sum over heads",
          "[kernels][indexer][heavy]") {
  for (const KernelTable* table : tables()) {
    for (int dim : {128, 256, 512, 32}) {
      for (int heads : {1, 4, 6, 64}) {
        for (auto [count, block] : {std::pair{1, 64}, {63, 64}, {64, 64}, {130, 64}, {100, 24}}) {
          for (bool wild : {false, true}) {
            if (heads == 64 && (dim != 128 || count != 130)) continue;
            CAPTURE(table->name, dim, heads, count, block, wild);
            const Keys keys(dim, true, count, block, wild);
            const auto q = native_queries(2, heads, dim, wild);
            const auto w = normal_bf16(std::size_t(2 * heads), 78);
            const auto want = run_scores(kScalarKernels, keys, heads, q, w, true);
            const auto got = run_scores(*table, keys, heads, q, w, true);
            auto magnitude = w;
            for (float& v : magnitude) v = std::fabs(v);
            const auto sum = run_scores(kScalarKernels, keys, heads, q, magnitude, true);
            std::size_t equal = 0;
            for (std::size_t j = 0; j < want.size(); ++j) {
              // The generic kernels also sum a dot in floats, which may move its rounding.
              const std::string name = table->name;
              const bool integers = name == "avx512bf16" || (name == "avx2" && !wild);
              const double slack = integers && dim % 128 == 0 ? heads * 0x1p-23 : 0x1p-6;
              REQUIRE(std::fabs(double(got[j]) - want[j]) <=
                      0x1p-7 * std::fabs(want[j]) + slack * sum[j]);
              equal += got[j] == want[j];
            }
            REQUIRE(equal * 20 >= want.size() * 19);
          }
        }
      }
    }
  }
}

TEST_CASE("a key's score has the same bits whatever keys and queries are in the call",
          "[kernels][indexer]") {
  constexpr int kHeads = 8, kDim = 128;
  for (const KernelTable* table : tables()) {
    const Keys all(kDim, true, 200, 64, true);
    const auto q = native_queries(5, kHeads, kDim, true);
    const auto w = normal_bf16(5 * kHeads, 78);
    const auto want = run_scores(*table, all, kHeads, q, w, true);
    for (int t = 0; t < 5; ++t) {
      const std::vector<float> one_q(q.begin() + t * kHeads * kDim,
                                     q.begin() + (t + 1) * kHeads * kDim);
      const std::vector<float> one_w(w.begin() + t * kHeads, w.begin() + (t + 1) * kHeads);
      for (int block : {1, 7, 40}) {
        const Keys keys(kDim, true, 150, block, true);
        const auto got = run_scores(*table, keys, kHeads, one_q, one_w, true);
        CAPTURE(table->name, t, block);
        for (std::size_t j = 0; j < 150; ++j)
          REQUIRE(to_bits(got[j]) == to_bits(want[std::size_t(t) * 200 + j]));
      }
    }
  }
}

// Dot products of 26 bits, which float32 sums round on the way: integers here and floats there
// would be seen.  The key that is far is the last of the tile.
TEST_CASE("a key that is far in scale changes the bits of none beside it",
          "[kernels][indexer][heavy]") {
  constexpr int kDim = 512, kKeys = 64, kQueries = 32, kBytes = kDim / 2 + kDim / 32;
  constexpr float kValues[] = {6, 6, 6, 4, 3, 0.5f, 1.5f, 1};
  constexpr unsigned kCodes[] = {7, 7, 7, 7, 6, 5, 1, 3};
  std::mt19937 g(5);
  for (int tile = 0; tile < 40; ++tile) {
    Keys keys(kDim, true, kKeys, kKeys, false);
    for (int j = 0; j < kKeys; ++j) {
      std::uint8_t* key = keys.memory[0].data() + j * kBytes;
      for (int i = 0; i < kDim / 2; ++i) {
        const unsigned sign = i < kDim / 2 - 16 ? 0 : g() & 0x88;
        key[i] = std::uint8_t((kCodes[g() % 8] | kCodes[g() % 8] << 4) ^ sign);
      }
      for (int b = 0; b < kDim / 32; ++b) key[kDim / 2 + b] = b < kDim / 32 - 1 ? 127 : 118;
    }
    std::vector<float> q(kQueries * kDim);
    for (std::size_t i = 0; i < q.size(); ++i)
      q[i] = kValues[g() % 8] * (i % kDim < kDim - 32 ? 8.0f : 1.0f);
    const std::vector<float> w(kQueries, 1.0f);
    for (const KernelTable* table : tables()) {
      std::uint8_t& scale = keys.memory[0][(kKeys - 1) * kBytes + kDim / 2];
      scale = 127;
      const auto want = run_scores(*table, keys, 1, q, w, true);
      scale = 128;
      const auto got = run_scores(*table, keys, 1, q, w, true);
      CAPTURE(table->name, tile);
      for (std::size_t i = 0; i < want.size(); ++i)
        if (i % kKeys != kKeys - 1) REQUIRE(to_bits(got[i]) == to_bits(want[i]));
    }
  }
}

TEST_CASE("index scores of the smallest and largest scales and weights are the scalar kernel's",
          "[kernels][indexer]") {
  struct {
    int query, weight;
    std::uint8_t key;
  } const cases[] = {{0, 0, 127},   {-104, 0, 227},  {-99, -20, 220}, {-90, -60, 227}, {60, 60, 27},
                     {90, -60, 30}, {-100, 90, 127}, {98, -98, 127},  {-3, -120, 140}};
  for (const KernelTable* table : tables()) {
    if (std::string(table->name) == "avx512bf16") continue;  // its weights are bf16
    for (const auto& c : cases) {
      Keys keys(128, true, 1, 1, false);
      std::fill_n(keys.memory[0].begin(), 64, std::uint8_t{0x77});
      std::fill_n(keys.memory[0].begin() + 64, 4, c.key);
      const std::vector<float> q(128, std::ldexp(6.0f, c.query)), w = {std::ldexp(1.0f, c.weight)};
      CAPTURE(table->name, c.query, c.weight, int(c.key));
      CHECK(run_scores(*table, keys, 1, q, w, true) ==
            run_scores(kScalarKernels, keys, 1, q, w, true));
    }
  }
}

TEST_CASE("an index query with NaN is not computed in integers", "[kernels][indexer]") {
  const Keys keys(128, true, 70, 64, false);
  for (const KernelTable* table : tables()) {
    if (std::string(table->name) != "avx2") continue;
    auto zero = native_queries(1, 1, 128, false);
    std::fill(zero.begin(), zero.end(), 0.0f);
    const std::vector<float> w = {1.0f};
    for (std::size_t at : {0u, 9u, 20u, 31u, 127u}) {
      auto q = native_queries(1, 1, 128, false);
      q[at] = NAN;
      CHECK(run_scores(*table, keys, 1, q, w, true) ==
            run_scores(*table, keys, 1, zero, w, true));  // the head counts for nothing
    }
  }
}

TEST_CASE("index scores have the same bits when the host flushes subnormals",
          "[kernels][indexer][ftz]") {
  const Keys keys(128, true, 20, 8, false);
  const auto q = native_queries(2, 4, 128, false), w = normal_bf16(8, 78);
  for (const KernelTable* table : tables()) {
    for (bool round : {false, true}) {
      const auto want = run_scores(*table, keys, 4, q, w, round);
      const FlushToZero scope;
      CAPTURE(table->name, round);
      REQUIRE(same_bits(run_scores(*table, keys, 4, q, w, round), want));
    }
  }
}
