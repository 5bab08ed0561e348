// A weight that is no number leaves none in the results of its row, and harms no other row: the
// forward pass looks at results before it believes a matrix that it reads for the first time.
#include "tests/kernels/weights.h"
#include "tests/support/catch.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i::kernels;
using namespace v4i::test;

namespace {

constexpr std::int64_t kRows = 21;

struct Bad {
  Format format;
  bool scale;  // a scale, not a weight
  std::vector<std::uint8_t> code;
  int block = 128;  // rows and columns of fp8 with one scale
};

const Bad kBad[] = {
    {Format::kF32, false, {0, 0, 0x80, 0x7f}},  // infinity
    {Format::kF32, false, {1, 0, 0x80, 0xff}},  // NaN
    {Format::kBF16, false, {0x80, 0x7f}},       // infinity
    {Format::kBF16, false, {0xff, 0xff}},       // NaN
    {Format::kFp8, false, {0x7f}},
    {Format::kFp8, false, {0xff}},
    {Format::kFp8, true, {0xff}},
    {Format::kFp8, false, {0x7f}, 32},
    {Format::kFp8, false, {0xff}, 32},
    {Format::kFp8, true, {0xff}, 32},
    {Format::kFp4, true, {0xff}},
};

// Rows of y whose results are all finite, or none of them: 1 or 0; -1 where they differ.
std::vector<int> finite_rows(const std::vector<float>& y, std::int64_t tokens) {
  std::vector<int> out;
  for (std::int64_t r = 0; r < kRows; ++r) {
    std::int64_t finite = 0;
    for (std::int64_t t = 0; t < tokens; ++t)
      finite += std::isfinite(y[std::size_t(t * kRows + r)]);
    out.push_back(finite == tokens ? 1 : finite == 0 ? 0 : -1);
  }
  return out;
}

// Results of all rows after `bad` was put where row and column are.
std::vector<int> with_bad(const KernelTable& k, const Bad& bad, std::int64_t row, std::int64_t col,
                          std::int64_t cols, std::int64_t tokens, bool round) {
  RandomWeight w(bad.format, kRows, cols, bad.block, 7);
  const std::int64_t scale =
      bad.format == Format::kFp4 ? row * (cols / 32) + col / 32 : col / bad.block;
  const std::int64_t at = bad.scale ? scale : (row * cols + col) * std::int64_t(bad.code.size());
  std::copy(bad.code.begin(), bad.code.end(), (bad.scale ? w.scale : w.data).begin() + at);
  const auto x = normal_bf16(std::size_t(tokens * cols), 8);
  std::vector<float> y(std::size_t(tokens * kRows));
  const auto scratch = linear_scratch(cols);
  k.linear({w.w, 0, kRows, x.data(), cols, nullptr, y.data(), kRows, tokens, round, scratch.get(),
            0, true});
  return finite_rows(y, tokens);
}

std::vector<int> all_but(std::int64_t row, bool none) {
  std::vector<int> rows(kRows, none ? 0 : 1);
  rows[std::size_t(row)] = 0;
  return rows;
}

}  // namespace

TEST_CASE("a weight that is no number leaves none in its row", "[kernels][linear][heavy]") {
  for (const KernelTable* table : tables())
    for (const Bad& bad : kBad) {
      const bool fp4 = bad.format == Format::kFp4;
      if ((bad.format == Format::kFp8 || fp4) && !table->nan_codes) continue;
      for (std::int64_t tokens : {1, 3, 6, 7, 16, 25, 50})
        for (std::int64_t cols : {128, 300, 1280}) {  // 300: no whole blocks
          if (fp4 && cols % 32 != 0) continue;
          CAPTURE(table->name, int(bad.format), bad.block, bad.scale, tokens, cols);
          for (std::int64_t row : {0, 10, 20})  // an fp8 scale is that of all rows
            for (std::int64_t col : {std::int64_t{0}, cols / 2 + 1, cols - 1}) {
              const auto want = all_but(row, bad.scale && !fp4);
              REQUIRE(with_bad(*table, bad, row, col, cols, tokens, row == 10) == want);
              const FlushToZero audio;
              REQUIRE(with_bad(*table, bad, row, col, cols, tokens, false) == want);
            }
        }
    }
}
