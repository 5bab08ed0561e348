// Row operations of every kernel table that runs here against the scalar ones.
#include "kernels/rows.h"

#include <algorithm>

#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

using namespace v4i::kernels;
using v4i::RowForm;
using namespace v4i::test;

namespace {

// Heads of very different sizes: the fp4 and fp8 grids are met from end to end.
std::vector<float> heads(int count, int dim, unsigned seed, bool bf16) {
  auto x = normal(std::size_t(count * dim), seed);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = std::ldexp(x[i], int(i / std::size_t(dim)) % 13 * 3 - 24);
    if (i % 29 == 3) x[i] = 0;
    if (i % 31 == 4) x[i] = -0.0f;
    if (i / std::size_t(dim) == 2) x[i] = 0;
  }
  if (bf16) round_bf16(x.data(), std::int64_t(x.size()));
  return x;
}

using Op = void (*KernelTable::*)(const HeadsArgs&);

}  // namespace

TEST_CASE("operations on heads give the scalar kernel's bits", "[kernels][rows]") {
  constexpr int kCount = 17;
  const Op ops[] = {&KernelTable::query_heads, &KernelTable::output_heads,
                    &KernelTable::index_heads};
  for (const KernelTable* table : tables()) {
    for (auto [dim, rope] : {std::pair{512, 64}, {128, 64}, {128, 32}, {64, 20}, {8, 4}, {32, 8}}) {
      for (bool native : {false, true}) {
        for (std::size_t op = 0; op < 6; ++op) {  // the second three: plain
          const auto cos_sin = normal(std::size_t(rope), 4);
          auto want = heads(kCount, dim, unsigned(dim + rope), native);
          auto got = want;
          HeadsArgs a{want.data(), kCount, dim, rope, cos_sin.data(), 1e-6f, native, op >= 3};
          (kScalarKernels.*ops[op % 3])(a);
          a.x = got.data();
          (table->*ops[op % 3])(a);
          CAPTURE(table->name, dim, rope, native, op);
          REQUIRE(same_bits(got, want));
        }
      }
    }
  }
}

// Every quotient of a value and its scale that decides a rounding: ties and their neighbours.
TEST_CASE(
    "values at and beside every rounding tie of fp4 and fp8 are packed as the scalar kernel does",
    "[kernels][rows]") {
  for (const KernelTable* table : tables()) {
    for (int code = 0; code < 0x7e; ++code) {
      const float tie = (decode_e4m3(std::uint8_t(code)) + decode_e4m3(std::uint8_t(code + 1))) / 2;
      const float near[] = {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 1e9f), -tie};
      for (float v : near) {
        std::vector<float> x(192, v);
        x[0] = x[64] = 448.0f;
        std::vector<std::uint8_t> want(400), got(400);
        kScalarKernels.store_row({x.data(), 192, 64, want.data()});
        table->store_row({x.data(), 192, 64, got.data()});
        CAPTURE(table->name, code, v);
        REQUIRE(want == got);
      }
    }
    for (float tie : {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f}) {
      for (float v : {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 9.0f), -tie}) {
        // A Hadamard transform of two equal nonzero values and zeros keeps them apart from 6.
        std::vector<float> want(128, 0.0f);
        want[0] = 6;
        want[1] = v;
        auto got = want;
        const std::vector<float> cos_sin(4, 1.0f);
        kScalarKernels.index_heads({want.data(), 1, 128, 4, cos_sin.data(), 0, true});
        table->index_heads({got.data(), 1, 128, 4, cos_sin.data(), 0, true});
        REQUIRE(same_bits(got, want));
      }
    }
  }
}

TEST_CASE("packed rows are the scalar kernel's byte for byte", "[kernels][rows]") {
  for (const KernelTable* table : tables()) {
    for (auto [dim, rope] : {std::pair{512, 64}, {128, 64}, {40, 10}, {100, 4}}) {
      const auto x = heads(20, dim, 5, false);
      for (int i = 0; i < 20; ++i) {
        for (RowForm form : {RowForm::kFp8Rope16, RowForm::kFp8, RowForm::kFp4}) {
          std::vector<std::uint8_t> want(std::size_t(2 * dim + 16)), got = want;
          kScalarKernels.store_row({&x[std::size_t(i * dim)], dim, rope, want.data(), form});
          table->store_row({&x[std::size_t(i * dim)], dim, rope, got.data(), form});
          CAPTURE(table->name, dim, rope, i, int(form));
          REQUIRE(want == got);
        }
      }
    }
  }
}

TEST_CASE("quantised values and residual streams are the scalar kernel's bits", "[kernels][rows]") {
  for (const KernelTable* table : tables()) {
    for (std::int64_t n : {1, 15, 16, 100, 128, 300})
      for (std::int64_t block : {32, 128}) {
        const auto x = heads(1, static_cast<int>(n), unsigned(n), false);
        std::vector<float> want(x.size(), NAN), got = want;
        kScalarKernels.quantise({x.data(), want.data(), n, block});
        table->quantise({x.data(), got.data(), n, block});
        CAPTURE(table->name, n, block);
        REQUIRE(same_bits(got, want));
      }
    for (int count : {1, 2, 4, kMaxStreams}) {
      for (bool native : {false, true}) {
        constexpr std::int64_t kWidth = 75, kBegin = 3, kEnd = 71;
        CAPTURE(table->name, count, native);
        const auto pre = normal(std::size_t(count), 1),
                   comb = normal(std::size_t(count * count), 2);
        const auto out = normal(kWidth, 3);
        auto want = normal(std::size_t(count) * kWidth, 4), got = want;
        std::vector<float> x(kWidth, 7.0f), y = x;
        const StreamsArgs a{want.data(), count, kWidth, kBegin, kEnd, native};
        StreamsArgs b = a;
        b.streams = got.data();
        kScalarKernels.collapse({a, pre.data(), x.data()});
        table->collapse({b, pre.data(), y.data()});
        REQUIRE(same_bits(y, x));
        kScalarKernels.mix_back({a, out.data(), pre.data(), comb.data()});
        table->mix_back({b, out.data(), pre.data(), comb.data()});
        REQUIRE(same_bits(got, want));
      }
    }
  }
}

// Three roundings and the exp's two units, relative to the result.
TEST_CASE("swiglu agrees with the scalar kernel and does not depend on the company",
          "[kernels][rows]") {
  for (const KernelTable* table : tables()) {
    for (float limit : {0.0f, 1.5f}) {
      auto gate = normal(300, 5);
      for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= float(1 << i % 8);
      gate[0] = 0.0f, gate[1] = 300.0f, gate[2] = -300.0f, gate[3] = -86.9f;
      const auto up = normal(300, 6);
      auto want = gate, got = gate, alone = gate, rounded = gate;
      kScalarKernels.swiglu({want.data(), up.data(), 300, limit, 0.7f, false});
      table->swiglu({got.data(), up.data(), 300, limit, 0.7f, false});
      table->swiglu({rounded.data(), up.data(), 300, limit, 0.7f, true});
      for (std::size_t i = 0; i < 300; i += 7)
        table->swiglu({&alone[i], &up[i], std::min<std::int64_t>(7, std::int64_t(300 - i)), limit,
                       0.7f, false});
      CAPTURE(table->name, limit);
      REQUIRE(same_bits(alone, got));
      for (std::size_t i = 0; i < 300; ++i) {
        CAPTURE(i, gate[i], got[i], want[i]);
        REQUIRE(std::fabs(double(got[i]) - want[i]) <= 8 * 0x1p-24 * std::fabs(want[i]) + 0x1p-100);
        REQUIRE(rounded[i] == round_bf16(got[i]));
      }
    }
  }
}

// e carries a few ulps, the sums of n terms n each, all relative to sum |p v|.
TEST_CASE("pooling agrees with the scalar kernel and does not depend on the channels of the call",
          "[kernels][rows]") {
  for (const KernelTable* table : tables()) {
    for (int count : {1, 4, 8, 128}) {
      for (std::int64_t channels : {1, 16, 31, 128}) {
        std::vector<std::vector<float>> slots;
        std::vector<const float*> value;
        for (int i = 0; i < count; ++i) {
          slots.push_back(normal(std::size_t(2 * channels), unsigned(i)));
          for (std::int64_t c = 0; c < channels; ++c) slots.back()[std::size_t(channels + c)] *= 20;
          value.push_back(slots.back().data());
        }
        std::vector<float> want(std::size_t(channels), NAN), got = want, pieces = want;
        kScalarKernels.pool({value.data(), count, channels, 0, channels, want.data()});
        table->pool({value.data(), count, channels, 0, channels, got.data()});
        for (std::int64_t c = 0; c < channels; c += 5)
          table->pool({value.data(), count, channels, c, std::min(c + 5, channels), pieces.data()});
        CAPTURE(table->name, count, channels);
        REQUIRE(same_bits(got, pieces));
        for (std::size_t c = 0; c < want.size(); ++c) {
          double most = 0;
          for (const float* v : value) most = std::max(most, std::fabs(double(v[c])));
          REQUIRE(std::fabs(double(got[c]) - want[c]) <= (2 * count + 12) * 0x1p-24 * most);
        }
      }
    }
  }
}
