// linear_int8, the products of the `fast` numerics: against the scalar definition, and how much
// the integers lose.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/kernels/weights.h"
#include "tests/support/catch.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i::kernels;
using v4i::Weight;
using namespace v4i::test;

namespace {

std::vector<const KernelTable*> tables_with_int8() {
  std::vector<const KernelTable*> out;
  for (const KernelTable* t : tables())
    if (t->linear_int8 != nullptr) out.push_back(t);
  return out;
}

std::vector<float> run(void (*linear)(const LinearArgs&), const Weight& w,
                       const std::vector<float>& x, std::int64_t tokens) {
  std::vector<float> y(std::size_t(tokens * w.rows), NAN);
  const auto scratch = linear_scratch(w.cols);
  linear({w, 0, w.rows, x.data(), w.cols, nullptr, y.data(), w.rows, tokens, false, scratch.get(),
          0, true});
  return y;
}

// Sums of magnitudes: what rounding errors are measured by.
std::vector<float> sums_of(const RandomWeight& w, std::vector<float> x, std::int64_t tokens) {
  for (float& v : x) v = std::fabs(v);
  return run(kScalarKernels.linear_int8, magnitudes(w).w, x, tokens);
}

// fp8 in blocks of both sizes, and fp4.
constexpr Form kCodes[] = {{Format::kFp8, 128}, {Format::kFp8, 32}, {Format::kFp4, 128}};

// How the scales of a weight are spread: alike, near, far apart, and out of the float32 way.
void spread(RandomWeight& w, int kind) {
  constexpr int kSpan[] = {1, 4, 20, 150};
  std::mt19937 g(7);
  for (auto& s : w.scale)
    s = std::uint8_t(127 - kSpan[kind] / 2 + int(g() % unsigned(kSpan[kind])));
}

// fp8 codes below 2 in some rows, below 2^-6 in others: far from what their scales are made for.
void lower(RandomWeight& w) {
  if (w.w.format != Format::kFp8) return;
  for (std::size_t i = 0; i < w.data.size(); ++i) {
    const std::size_t row = i / std::size_t(w.w.cols), third = i / 32 % 3;
    if (row % 3 == 1 || (row % 3 == 2 && third == 0)) w.data[i] &= 0xbf;
    if (row % 5 == 4) w.data[i] &= 0x87;
  }
}

// Some blocks of codes all zero, which have no greatest weight.
void zero_some(RandomWeight& w) {
  for (std::size_t i = 0; i < w.data.size(); ++i)
    if (i / 64 % 3 == 0) w.data[i] = 0;
}

}  // namespace

TEST_CASE("linear_int8 agrees with the scalar kernel", "[kernels][int8][heavy]") {
  for (const KernelTable* table : tables_with_int8())
    for (const auto& [f, block] : kCodes)
      for (std::int64_t cols : {96, 128, 512, 640, 1024, 1536, 2048, 2176})
        for (std::int64_t rows : {1, 4, 9, 18})
          for (int kind = 0; kind < (cols % 512 == 128 ? 8 : 4); ++kind) {
            RandomWeight w(f, rows, cols, block, unsigned(rows * 1000 + cols));
            spread(w, kind % 4);
            if (kind >= 4) lower(w);
            if (kind % 4 == 2) zero_some(w);
            for (std::int64_t tokens : {1, 2, 3, 4, 7, 11, 24, 25, 50}) {
              CAPTURE(table->name, int(f), block, rows, cols, kind, tokens);
              const auto x = normal_bf16(std::size_t(tokens * cols), 3);
              const auto want = run(kScalarKernels.linear_int8, w.w, x, tokens);
              const auto got = run(table->linear_int8, w.w, x, tokens);
              const auto sums = sums_of(w, x, tokens);
              // Of each block: its scales' product, its place in the sum; 4 steps of folding.
              const double bound =
                  (2.0 * double((cols + kInt8Block - 1) / kInt8Block) + 5) * 0x1p-24;
              int beyond = 0;
              for (std::size_t i = 0; i < want.size(); ++i)
                beyond += !(std::fabs(double(got[i]) - want[i]) <= bound * sums[i]);
              REQUIRE(beyond == 0);
            }
          }
}

TEST_CASE("linear_int8 gives a token the same bits alone and in company",
          "[kernels][int8][heavy]") {
  for (const KernelTable* table : tables_with_int8())
    for (const auto& [f, block] : kCodes)
      for (int kind = 0; kind < 5; ++kind) {
        for (std::int64_t cols : {1152, 2048}) {
          constexpr std::int64_t kTokens = 53, kRows = 37;
          RandomWeight w(f, kRows, cols, block, 5);
          spread(w, kind % 4);
          if (kind == 4) lower(w);
          const auto x = normal_bf16(std::size_t(kTokens * cols), 4);
          const auto all = run(table->linear_int8, w.w, x, kTokens);
          for (std::int64_t n : {1, 2, 3, 4, 5, 9, 12, 24, 48})
            for (std::int64_t t = 0; t + n <= kTokens; t += 7) {
              const std::vector<float> some(x.begin() + t * cols, x.begin() + (t + n) * cols);
              const auto alone = run(table->linear_int8, w.w, some, n);
              CAPTURE(table->name, int(f), block, kind, n, t);
              REQUIRE(std::memcmp(alone.data(), &all[std::size_t(t * kRows)], alone.size() * 4) ==
                      0);
            }
        }
      }
}

TEST_CASE("linear_int8 keeps every weight of a block whose scales are near", "[kernels][int8]") {
  // One column at a time against 127, which int8 holds exactly: y is the weight times 127.
  for (const KernelTable* table : tables_with_int8())
    for (bool flush : {false, true}) {
      RandomWeight w(Format::kFp4, 3, 512, 32, 11);
      spread(w, 1);
      for (int k = 0; k < 512; k += 5) {
        std::vector<float> x(512, 0.0f), y;
        x[std::size_t(k)] = 127.0f;
        const auto want = run(kScalarKernels.linear, w.w, x, 1);
        {
          const FlushToZero scope(flush);
          y = run(table->linear_int8, w.w, x, 1);
        }
        CAPTURE(table->name, k, flush);
        REQUIRE(same_bits(y, want));
      }
    }
}

TEST_CASE("int8 products lose less than the rounding to fp8 that a model was trained with",
          "[kernels][int8]") {
  constexpr std::int64_t kCols = 4096, kTokens = 8, kRows = 64;
  const RandomWeight w(Format::kFp4, kRows, kCols, 32, 21);
  const auto x = normal_bf16(std::size_t(kTokens * kCols), 22);
  std::vector<float> fp8 = x;
  for (std::int64_t t = 0; t < kTokens; ++t)
    fp8_sim(&fp8[std::size_t(t * kCols)], &fp8[std::size_t(t * kCols)], kCols, 128);
  const auto exact = run(kScalarKernels.linear, w.w, x, kTokens);
  const auto error = [&](const std::vector<float>& y) {
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += std::pow(double(y[i]) - exact[i], 2);
    return std::sqrt(sum);
  };
  const double native = error(run(kScalarKernels.linear, w.w, fp8, kTokens));
  const double fast = error(run(kScalarKernels.linear_int8, w.w, x, kTokens));
  CAPTURE(native, fast);
  CHECK(fast > 0);
  CHECK(fast < 0.5 * native);
}

TEST_CASE("linear_int8 hands on what is not a number", "[kernels][int8]") {
  for (const KernelTable* table : tables_with_int8())
    for (Format f : {Format::kFp8, Format::kFp4})
      for (float bad : {NAN, std::numeric_limits<float>::infinity()}) {
        const RandomWeight w(f, 5, 1024, 128, 5);
        auto x = normal_bf16(6 * 1024, 4);
        x[2 * 1024 + 700] = bad;
        const auto y = run(table->linear_int8, w.w, x, 6);
        for (std::size_t i = 0; i < y.size(); ++i) {
          CAPTURE(table->name, int(f), i);
          REQUIRE(std::isnan(y[i]) == (i / 5 == 2));
        }
      }
}
