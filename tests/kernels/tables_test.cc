// Every kernel table that runs here against the scalar one.
#include "kernels/cpu/tables.h"

#include <cmath>
#include <vector>

#include "tests/kernels/weights.h"
#include "tests/support/catch.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i::kernels;
using v4i::Weight;
using namespace v4i::test;

namespace {

std::vector<float> run_linear(const KernelTable& k, const Weight& w, const std::vector<float>& x,
                              std::int64_t tokens, bool round = false, bool bf16_x = false) {
  std::vector<float> y(std::size_t(tokens * w.rows), NAN);
  const auto scratch = linear_scratch(w.cols);
  k.linear({w, 0, w.rows, x.data(), w.cols, nullptr, y.data(), w.rows, tokens, round, scratch.get(),
            0, bf16_x});
  return y;
}

// How many results are beyond the bound, or not a number: each of `cols` products carries one
// rounding and a sum of n floats at most n more, relative to the sum of magnitudes.
int beyond(const std::vector<float>& got, const std::vector<float>& want,
           const std::vector<float>& sums, std::int64_t cols) {
  int count = 0;
  for (std::size_t i = 0; i < want.size(); ++i)
    count += !(std::fabs(double(got[i]) - want[i]) <= 2.0 * double(cols) * 0x1p-24 * sums[i]);
  return count;
}

}  // namespace

TEST_CASE("linear agrees with the scalar kernel at every edge", "[kernels][linear]") {
  for (const KernelTable* table : tables()) {
    for (Format f : {Format::kF32, Format::kBF16, Format::kFp8, Format::kFp4}) {
      for (int block : {32, 128}) {
        for (std::int64_t rows : {1, 7, 8, 9, 130}) {
          for (std::int64_t cols : {2, 14, 16, 18, 34, 128, 130, 300}) {
            const RandomWeight w(f, rows, cols, block, unsigned(rows * 1000 + cols));
            for (std::int64_t tokens : {1, 2, 5}) {
              CAPTURE(table->name, int(f), block, rows, cols, tokens);
              const auto x = normal(std::size_t(tokens * cols), 3);
              const auto want = run_linear(kScalarKernels, w.w, x, tokens);
              const auto got = run_linear(*table, w.w, x, tokens);
              auto positive = x;
              for (float& v : positive) v = std::fabs(v);
              const auto sums = run_linear(kScalarKernels, magnitudes(w).w, positive, tokens);
              REQUIRE(beyond(got, want, sums, cols) == 0);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("linear of bf16 activations agrees with the scalar kernel", "[kernels][linear]") {
  for (const KernelTable* table : tables()) {
    for (const auto& [f, block] : kForms) {
      if (f == Format::kF32) continue;
      for (std::int64_t rows : {1, 3, 4, 6, 9, 45}) {
        for (std::int64_t cols : {128, 160, 256, 300, 1152}) {
          RandomWeight w(f, rows, cols, block, unsigned(rows * 1000 + cols));
          if (rows == 9 && !w.scale.empty()) w.scale.back() = 190;  // the way of odd scales
          for (std::int64_t tokens : {1, 2, 3, 8, 9, 100}) {
            CAPTURE(table->name, int(f), block, rows, cols, tokens);
            auto x = normal_bf16(std::size_t(tokens * cols), 3);
            const auto want = run_linear(kScalarKernels, w.w, x, tokens);
            const auto got = run_linear(*table, w.w, x, tokens, false, true);
            for (float& v : x) v = std::fabs(v);
            const auto sums = run_linear(kScalarKernels, magnitudes(w).w, x, tokens);
            REQUIRE(beyond(got, want, sums, cols) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("linear gives a token the same bits alone and in company", "[kernels][linear]") {
  for (const KernelTable* table : tables()) {
    for (const auto& [f, block] : kForms) {
      for (std::int64_t cols : {130, 256, 4096}) {
        for (bool bf16 : {false, true}) {
          RandomWeight w(f, 45, cols, block, 5);
          for (std::size_t i = 0; i < w.scale.size(); ++i)
            w.scale[i] = std::uint8_t(70 + i * 37 % 110);
          const auto x = normal_bf16(std::size_t(99 * cols), 4);
          const auto all = run_linear(*table, w.w, x, 99, false, bf16);
          for (int t : {0, 1, 2, 47, 48, 96, 97, 98}) {
            const std::vector<float> one(x.begin() + t * cols, x.begin() + (t + 1) * cols);
            const auto alone = run_linear(*table, w.w, one, 1, false, bf16);
            CAPTURE(table->name, int(f), block, cols, bf16, t);
            REQUIRE(std::memcmp(alone.data(), &all[std::size_t(t) * 45], 45 * 4) == 0);
          }
          for (std::int64_t n : {2, 3, 4, 5, 7, 11, 13, 25, 48, 49, 51, 97}) {
            CAPTURE(table->name, int(f), block, cols, bf16, n);
            const auto few = run_linear(*table, w.w, x, n, false, bf16);
            REQUIRE(std::memcmp(few.data(), all.data(), few.size() * 4) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("linear of activations of any size gives the same bits alone, in company and under flush",
          "[kernels][linear][ftz]") {
  for (const KernelTable* table : tables()) {
    for (const auto& [f, block] : kForms) {
      if (f == Format::kF32) continue;
      const RandomWeight w(f, 9, 256, block, 8);
      for (float size : {0x1p-60f, 1.0f, 0x1p8f, 0x1p16f, 0x1p60f, 0x1p100f}) {
        auto x = normal_bf16(49 * 256, 9);  // as many as take every way through the kernels
        for (float& v : x) v *= size;
        const auto all = run_linear(*table, w.w, x, 49, false, true);
        for (std::int64_t n : {2, 25}) {
          const auto few = run_linear(*table, w.w, x, n, false, true);
          REQUIRE(std::memcmp(few.data(), all.data(), few.size() * 4) == 0);
        }
        x.resize(256);
        for (bool flush : {false, true}) {
          CAPTURE(table->name, int(f), block, size, flush);
          std::vector<float> alone;
          {
            const FlushToZero scope(flush);
            alone = run_linear(*table, w.w, x, 1, false, true);
          }
          REQUIRE(std::isfinite(alone[0]));
          REQUIRE(std::memcmp(alone.data(), all.data(), 9 * 4) == 0);
        }
      }
    }
  }
}

TEST_CASE(
    "every fp8 and fp4 code under every scale decodes exactly, also when the host flushes "
    "subnormals",
    "[kernels][ftz]") {
#if defined(__x86_64__) || defined(__aarch64__)
  REQUIRE(!FlushToZero::happens());
  {
    const FlushToZero scope;
    REQUIRE(FlushToZero::happens());
  }
#endif
  std::vector<std::uint8_t> fp8(256), fp4(128);
  for (int c = 0; c < 256; ++c) fp8[c] = std::uint8_t((c & 0x7f) == 0x7f ? 0 : c);
  for (int c = 0; c < 128; ++c) fp4[c] = std::uint8_t(c % 8 * 0x22 + 0x10);
  for (const KernelTable* table : tables()) {
    for (int scale = 20; scale <= 230; scale += 7) {
      const std::vector<std::uint8_t> s(8, std::uint8_t(scale));
      const double factor = decode_ue8m0(std::uint8_t(scale));
      std::vector<std::uint8_t> rising(8);  // of each 32 columns another one
      for (int i = 0; i < 8; ++i) rising[std::size_t(i)] = std::uint8_t(scale + i);
      const Weight weight[] = {{Format::kFp8, 1, 256, fp8.data(), s.data(), 128, 128},
                               {Format::kFp8, 1, 256, fp8.data(), rising.data(), 32, 32},
                               {Format::kFp4, 1, 256, fp4.data(), rising.data(), 1, 32}};
      for (int c = 0; c < 256; ++c) {
        std::vector<float> x(256, 0.0f);
        x[c] = 1.0f;
        const double own = decode_ue8m0(rising[std::size_t(c / 32)]);
        const double want[] = {decode_e4m3(fp8[c]) * factor, decode_e4m3(fp8[c]) * own,
                               decode_e2m1(c % 16u) * own};
        for (int i = 0; i < 3; ++i) {
          if (want[i] != 0 && std::fabs(want[i]) < 0x1p-120) continue;
          for (bool flush : {false, true}) {
            CAPTURE(table->name, scale, c, i, flush);
            for (bool bf16 : {false, true}) {
              float got;
              {
                const FlushToZero scope(flush);
                got = run_linear(*table, weight[i], x, 1, false, bf16)[0];
              }
              REQUIRE(double(got) == want[i]);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a table can be forced by name and an unknown name gives none", "[kernels]") {
  REQUIRE(select_kernels("scalar") == &kScalarKernels);
  REQUIRE(select_kernels("mmx") == nullptr);
  REQUIRE(select_kernels(nullptr) == tables().front());
}
