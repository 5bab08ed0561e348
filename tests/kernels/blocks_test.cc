// fp8 weights whose scales cover 32 rows and columns (V4.1), beside those of 128 (V4).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/kernels/weights.h"
#include "tests/support/catch.h"

using namespace v4i::kernels;
using v4i::Weight;
using namespace v4i::test;

namespace {

// Rows in pieces of `piece` rows, the last one shorter.
std::vector<float> run(const KernelTable& k, const Weight& w, const std::vector<float>& x,
                       std::int64_t tokens, std::int64_t piece) {
  std::vector<float> y(std::size_t(tokens * w.rows), NAN);
  const auto scratch = linear_scratch(w.cols);
  for (std::int64_t r = 0; r < w.rows; r += piece)
    k.linear({w, r, std::min(r + piece, w.rows), x.data(), w.cols, nullptr, y.data(), w.rows,
              tokens, false, scratch.get(), 0, true});
  return y;
}

// The same weight with its scales said once for each 32 rows and columns.
RandomWeight by_32(const RandomWeight& w) {
  RandomWeight out = w;
  out.w.block_rows = out.w.block_cols = 32;
  const std::int64_t rows = (w.w.rows + 31) / 32, cols = (w.w.cols + 31) / 32;
  out.scale.resize(std::size_t(rows * cols));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      out.scale[std::size_t(r * cols + c)] =
          w.scale[std::size_t(r / 4 * ((w.w.cols + 127) / 128) + c / 4)];
  out.w.data = out.data.data();
  out.w.scale = out.scale.data();
  return out;
}

// Scales all over the range where products and their sums are normal float32, each block another.
void spread_scales(RandomWeight& w) {
  for (std::size_t i = 0; i < w.scale.size(); ++i) w.scale[i] = std::uint8_t(20 + i * 7919 % 210);
}

}  // namespace

TEST_CASE("a scale of 128 rows and columns said for each 32 of them changes nothing",
          "[kernels][linear][blocks][heavy]") {
  for (const KernelTable* table : tables()) {
    const bool sixteen_lanes = std::strstr(table->name, "bf16") == nullptr;
    for (std::int64_t cols : {128, 160, 1152, 2048}) {
      const RandomWeight v4(Format::kFp8, 150, cols, 128, unsigned(cols)), v41 = by_32(v4);
      for (std::int64_t tokens : {1, 2, 5, 7, 25}) {
        const auto x = normal_bf16(std::size_t(tokens * cols), 3);
        const auto want = run(*table, v4.w, x, tokens, 150);
        const auto got = run(*table, v41.w, x, tokens, 150);
        CAPTURE(table->name, cols, tokens);
        if (sixteen_lanes) {
          REQUIRE(same_bits(got, want));
          continue;
        }
        auto positive = x;
        for (float& v : positive) v = std::fabs(v);
        const auto sums = run(kScalarKernels, magnitudes(v4).w, positive, tokens, 150);
        for (std::size_t i = 0; i < want.size(); ++i)
          REQUIRE(std::fabs(double(got[i]) - want[i]) <= 4.0 * double(cols) * 0x1p-24 * sums[i]);
      }
    }
  }
}

TEST_CASE("a result does not depend on how the rows of a call are split",
          "[kernels][linear][blocks]") {
  for (const KernelTable* table : tables())
    for (const auto& [f, block] : kForms)
      for (std::int64_t cols : {160, 1280}) {
        RandomWeight w(f, 101, cols, block, 6);
        if (cols == 1280 && !w.scale.empty()) w.scale[1] = 40, w.scale.back() = 200;
        for (std::int64_t tokens : {1, 2, 5, 7, 25}) {
          const auto x = normal_bf16(std::size_t(tokens * cols), 4);
          const auto want = run(*table, w.w, x, tokens, w.w.rows);
          for (std::int64_t piece : {1, 2, 3, 8, 31, 32, 33, 64}) {
            CAPTURE(table->name, int(f), block, cols, tokens, piece);
            REQUIRE(same_bits(run(*table, w.w, x, tokens, piece), want));
          }
        }
      }
}

TEST_CASE("blocks of scales of any size agree with the scalar kernel",
          "[kernels][linear][blocks][heavy]") {
  for (const KernelTable* table : tables())
    for (int block : {32, 128})
      for (std::int64_t rows : {1, 33, 70})
        for (std::int64_t cols : {96, 128, 300, 1280}) {
          RandomWeight w(Format::kFp8, rows, cols, block, unsigned(rows + cols));
          spread_scales(w);
          for (std::int64_t tokens : {1, 3, 6, 7, 25}) {
            auto x = normal_bf16(std::size_t(tokens * cols), 3);
            const auto want = run(kScalarKernels, w.w, x, tokens, rows);
            const auto got = run(*table, w.w, x, tokens, rows);
            for (float& v : x) v = std::fabs(v);
            const auto sums = run(kScalarKernels, magnitudes(w).w, x, tokens, rows);
            CAPTURE(table->name, block, rows, cols, tokens);
            int beyond = 0;
            for (std::size_t i = 0; i < want.size(); ++i)
              beyond +=
                  !(std::fabs(double(got[i]) - want[i]) <= 2.0 * double(cols) * 0x1p-24 * sums[i]);
            REQUIRE(beyond == 0);
          }
        }
}
