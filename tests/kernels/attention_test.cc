// Attention of every kernel table that runs here against the scalar one.
#include "kernels/attention.h"

#include <algorithm>

#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i::kernels;
using v4i::RowForm;
using namespace v4i::test;

namespace {

// Rows of one form, or below `split` of one and from there on of another.
struct Rows {
  RowShape shape;
  RowForm rest;
  std::int64_t split;
  std::vector<std::vector<std::uint8_t>> bytes;
  std::vector<const void*> row;
  Rows(int dim, int rope, RowForm form, int count)
      : Rows(dim, rope, form, count, RowForm::kFloat32, count) {}
  Rows(int dim, int rope, RowForm form, int count, RowForm rest_, std::int64_t split_)
      : shape{dim, rope, form}, rest(rest_), split(split_) {
    for (int i = 0; i < count; ++i) {
      const auto x = normal(std::size_t(dim), unsigned(100 + i));
      bytes.emplace_back(std::size_t(dim * 4 + 64));
      pack_row(x.data(), dim, rope, bytes.back().data(), form_of(i));
    }
    for (auto& b : bytes) row.push_back(b.data());
  }
  RowForm form_of(std::int64_t i) const { return i < split ? shape.form : rest; }
  void unpack(std::size_t i, float* out) const {
    unpack_row(bytes[i].data(), shape.dim, shape.rope, out, form_of(std::int64_t(i)));
  }
};

std::vector<float> run_attention(const KernelTable& k, const Rows& rows,
                                 const std::vector<float>& q, const std::vector<float>& sink,
                                 bool round, int step) {
  const int heads = int(sink.size()), dim = rows.shape.dim;
  std::vector<float> out(q.size(), NAN);
  const auto n = std::int64_t(rows.row.size());
  std::vector<float> scratch(std::size_t(attention_scratch_floats(dim, n, heads)));
  for (int h = 0; h < heads; h += step)
    k.attention({rows.shape, rows.row.data(), n, q.data(), sink.data(), out.data(), h,
                 std::min(h + step, heads), 1.0f / std::sqrt(float(dim)), round, scratch.data(),
                 rows.split, rows.rest});
  return out;
}

// What rounding may do to native results: p and the output may each fall on the other side of
// a rounding to bf16, an ulp of which is at most 2^-7 of the value.
std::vector<double> native_bound(const Rows& rows, const std::vector<float>& q,
                                 const std::vector<float>& sink) {
  const std::size_t dim = std::size_t(rows.shape.dim), n = rows.row.size();
  std::vector<double> bound(q.size());
  std::vector<std::vector<float>> k(n, std::vector<float>(dim));
  for (std::size_t i = 0; i < n; ++i) rows.unpack(i, k[i].data());
  for (std::size_t h = 0; h < sink.size(); ++h) {
    std::vector<double> l(n);
    double top = -INFINITY;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t c = 0; c < dim; ++c) l[i] += double(q[h * dim + c]) * k[i][c];
      l[i] /= std::sqrt(double(dim));
      top = std::max(top, l[i]);
    }
    double total = std::exp(sink[h] - top);
    for (double& v : l) total += v = std::exp(v - top);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t c = 0; c < dim; ++c)
        bound[h * dim + c] += 2 * 0x1p-7 * l[i] * std::fabs(double(k[i][c])) / total;
  }
  return bound;
}

}  // namespace

TEST_CASE("attention agrees with the scalar kernel and does not depend on the head split",
          "[kernels][attention]") {
  for (const KernelTable* table : tables()) {
    for (auto [dim, rope] : {std::pair{512, 64}, {128, 64}, {32, 8}, {40, 10}}) {
      for (RowForm form : {RowForm::kFloat32, RowForm::kFp8Rope16, RowForm::kFp8, RowForm::kFp4}) {
        for (int count : {1, 15, 16, 17, 33, 140}) {
          CAPTURE(table->name, dim, int(form), count);
          const Rows rows(dim, rope, form, count);
          const auto q = normal(std::size_t(5 * dim), 9);
          const std::vector<float> sink = {0.5f, -20.0f, 60.0f, 3.0f, -1.0f};
          const auto want = run_attention(kScalarKernels, rows, q, sink, false, 5);
          const auto got = run_attention(*table, rows, q, sink, false, 5);
          for (std::size_t i = 0; i < want.size(); ++i)
            REQUIRE(std::fabs(got[i] - want[i]) <= 2e-5 * (1 + std::fabs(want[i])));
        }
      }
    }
  }
}

TEST_CASE(
    "attention over window rows and compressed rows of another form agrees with the scalar kernel",
    "[kernels][attention][heavy]") {
  for (const KernelTable* table : tables()) {
    for (auto [dim, rope] : {std::pair{512, 64}, {128, 64}, {40, 10}}) {
      for (std::int64_t split : {0, 1, 7, 8, 16, 37}) {
        CAPTURE(table->name, dim, split);
        const Rows rows(dim, rope, RowForm::kFp8, 37, RowForm::kFp4, split);
        const auto q = normal_bf16(std::size_t(35 * dim), 9);
        std::vector<float> sink(35, 0.5f);
        for (bool round : {false, true}) {
          const auto want = run_attention(kScalarKernels, rows, q, sink, round, 35);
          const auto got = run_attention(*table, rows, q, sink, round, 35);
          const auto bound = native_bound(rows, q, sink);
          for (std::size_t i = 0; i < want.size(); ++i)
            REQUIRE(std::fabs(double(got[i]) - want[i]) <=
                    (round ? bound[i] + 0x1p-126 : 2e-5 * (1 + std::fabs(want[i]))));
          REQUIRE(same_bits(run_attention(*table, rows, q, sink, round, 16), got));
        }
      }
    }
  }
}

TEST_CASE("native attention differs from the scalar kernel by roundings only, and rarely",
          "[kernels][attention][heavy]") {
  for (const KernelTable* table : tables()) {
    for (auto [dim, rope] : {std::pair{512, 64}, {128, 64}, {192, 128}, {32, 8}}) {
      for (int count : {1, 2, 7, 8, 9, 63, 64, 65, 130}) {
        for (int heads : {1, 5, 16, 35, 64}) {
          if (heads > 5 && count != 9 && count != 65) continue;
          CAPTURE(table->name, dim, count, heads);
          const Rows rows(dim, rope, RowForm::kFp8Rope16, count);
          const auto q = normal_bf16(std::size_t(heads * dim), 9);
          std::vector<float> sink(std::size_t(heads), 0.5f);
          sink[0] = count == 9 ? 60.0f : -20.0f;
          const auto want = run_attention(kScalarKernels, rows, q, sink, true, heads);
          const auto got = run_attention(*table, rows, q, sink, true, heads);
          const auto bound = native_bound(rows, q, sink);
          std::size_t equal = 0;
          for (std::size_t i = 0; i < want.size(); ++i) {
            REQUIRE(std::fabs(double(got[i]) - want[i]) <= bound[i] + 0x1p-126);
            equal += got[i] == want[i];
          }
          REQUIRE(equal * 20 >= want.size() * 19);
          for (int step : {1, 2, 16, 32})
            REQUIRE(same_bits(run_attention(*table, rows, q, sink, true, step), got));
        }
      }
    }
  }
}

// One row and no sink: p is 1 and the output is the row.
TEST_CASE("attention sees every code under every scale, also when the host flushes subnormals",
          "[kernels][attention][ftz]") {
  for (bool flush : {false, true}) {
    for (const KernelTable* table : tables()) {
      for (int scale = 20; scale <= 230; scale += 3) {
        Rows rows(576, 64, RowForm::kFp8Rope16, 1);
        for (int i = 0; i < 512; ++i)
          rows.bytes[0][std::size_t(i)] = std::uint8_t((i & 0x7f) == 0x7f ? 0 : i);
        for (int b = 0; b < 8; ++b) rows.bytes[0][std::size_t(512 + 128 + b)] = std::uint8_t(scale);
        std::vector<float> want(576);
        unpack_row(rows.bytes[0].data(), 576, 64, want.data());
        std::vector<float> got;
        {
          const FlushToZero scope(flush);
          got = run_attention(*table, rows, std::vector<float>(576), {-1e30f}, true, 1);
        }
        for (std::size_t c = 0; c < 576; ++c) {
          if (std::fabs(want[c]) < 0x1p-120f) continue;
          CAPTURE(table->name, scale, c, flush);
          REQUIRE(got[c] == want[c]);
        }
      }
    }
  }
}
