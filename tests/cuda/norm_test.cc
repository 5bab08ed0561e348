// Operations on rows: against ops.h, quant.h and plain copies.
#include "kernels/cuda/norm.h"

#include <cmath>
#include <random>

#include "kernels/quant.h"
#include "tests/cuda/emulate/run.h"
#include "tests/kernels/inputs.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using emulate::Buffer;

unsigned fresh_seed() { return std::random_device()(); }

Buffer<float> normal(std::int64_t n, unsigned seed, bool bf16 = false) {
  const auto count = static_cast<std::size_t>(n);
  return Buffer<float>(bf16 ? test::normal_bf16(count, seed) : test::normal(count, seed));
}

bool same(const float* a, const float* b, std::int64_t n) {
  return std::memcmp(a, b, sizeof(float) * std::size_t(n)) == 0;
}

struct NormCase {
  int n, cols, block;
  bool native;
  int x_gap = 0, y_gap = 0;  // floats between the rows
};

void check_norm_row(const NormCase& c, const float* x, const float* gain, const float* y) {
  double squares = 0;
  for (int i = 0; i < c.cols; ++i) squares += double{x[i]} * x[i];
  const double scale = 1 / std::sqrt(squares / c.cols + 1e-6);
  for (int i = 0; i < c.cols; ++i) {
    const double want = x[i] * scale * gain[i];
    const double bound = std::fabs(want) * (1e-6 + (c.native ? std::ldexp(1.0, -8) : 0));
    if (!(std::fabs(y[i] - want) <= bound)) CHECK(y[i] == want);
    if (c.native && kernels::round_bf16(y[i]) != y[i]) CHECK(false);
  }
}

void check_quantised(const float* y, const float* yq, int cols, int block) {
  std::vector<float> want(static_cast<std::size_t>(cols));
  kernels::fp8_sim(y, want.data(), cols, block);
  CHECK(same(want.data(), yq, cols));
}

void try_norm(const NormCase& c) {
  const unsigned seed = fresh_seed();
  INFO(c.n << " rows of " << c.cols << ", blocks of " << c.block << ", native " << c.native
           << ", inputs of seed " << seed);
  const std::int64_t x_stride = c.cols + c.x_gap, y_stride = c.cols + c.y_gap;
  const Buffer<float> x = normal((c.n - 1) * x_stride + c.cols, seed, c.native);
  const Buffer<float> gain = normal(c.cols, seed + 1);
  for (const std::uint64_t schedule : emulate::schedules()) {
    Buffer<float> y(std::size_t((c.n - 1) * y_stride + c.cols)), yq(std::size_t(c.n) * c.cols);
    NormArgs a{x.data(), x_stride, y.data(), y_stride, yq.data(), gain.data(),
               c.n,      c.cols,   c.block,  1e-6f,    c.native};
    emulate::run(launch_norm(a), a, schedule);
    for (int t = 0; t < c.n; ++t) {
      const float *row = y.data() + t * y_stride, *quantised = yq.data() + std::int64_t{t} * c.cols;
      check_norm_row(c, x.data() + t * x_stride, gain.data(), row);
      check_quantised(row, quantised, c.cols, c.block);
      for (int g = 0; g < c.y_gap && t + 1 < c.n; ++g) {  // nothing is written there
        unsigned char poison[4];
        std::memcpy(poison, row + c.cols + g, 4);
        CHECK(poison[0] == Buffer<float>::kPoison);
      }
    }
    // The last row alone, and without its plain form.
    Buffer<float> alone(std::size_t(c.cols));
    a.x += (c.n - 1) * x_stride, a.n = 1, a.yq = alone.data();
    if (c.cols <= kKeptChannels) a.y = nullptr;
    emulate::run(launch_norm(a), a, schedule);
    CHECK(same(alone.data(), yq.data() + std::int64_t{c.n - 1} * c.cols, c.cols));
  }
}

TEST_CASE("Norm: rows of any length, with a quantised copy") {
  for (const bool native : {false, true}) {
    try_norm({3, 24, 128, native});
    try_norm({2, 7, 3, native, 2, 1});
    try_norm({2, 1, 1, native});
    try_norm({2, 1024, 128, native, 4, 8});
    try_norm({2, 1536, 32, native});
    try_norm({2, 2052, 96, native, 3});
  }
  try_norm({2, 7168, 128, true});
  try_norm({1, kKeptChannels + 5, 100, true});
}

TEST_CASE("Norm: in place, no quantised copy") {
  for (const int cols : {24, 37, 4096}) {
    const Buffer<float> gain = normal(cols, 2), x = normal(3 * cols, 1, true);
    for (const std::uint64_t schedule : emulate::schedules()) {
      Buffer<float> y(x.vector());
      const NormArgs a{y.data(), cols, y.data(), cols, nullptr, gain.data(), 3, cols, 0, 1e-6f, 1};
      emulate::run(launch_norm(a), a, schedule);
      for (int t = 0; t < 3; ++t)
        check_norm_row({3, cols, 0, true}, x.data() + t * cols, gain.data(), y.data() + t * cols);
    }
  }
}

TEST_CASE("Quantise: any width and block, in place too") {
  for (const int block : {128, 64, 32, 4, 1, 5, 96, 256, 4096}) {
    for (const int cols : {24, 130, 513, 1024}) {
      const unsigned seed = fresh_seed();
      INFO(cols << " columns, blocks of " << block << ", inputs of seed " << seed);
      const Buffer<float> x = normal(2 * cols, seed, true);
      for (const std::uint64_t schedule : emulate::schedules()) {
        Buffer<float> y(std::size_t(2 * cols)), z(x.vector());
        const QuantiseRowsArgs a{x.data(), y.data(), 2, cols, block};
        emulate::run(launch_quantise(a), a, schedule);
        const QuantiseRowsArgs in_place{z.data(), z.data(), 2, cols, block};
        emulate::run(launch_quantise(in_place), in_place, schedule + 1);
        for (int t = 0; t < 2; ++t)
          check_quantised(x.data() + t * cols, y.data() + t * cols, cols, block);
        CHECK(y.same_bits(z));
      }
    }
  }
}

TEST_CASE("Embed and add: every stream of every token") {
  for (const bool native : {false, true}) {
    for (const int width : {24, 7, 516, 1030}) {
      const int n = 3, count = width == 7 ? 16 : 4;
      const Buffer<float> rows = normal(n * width, 1, native), more = normal(n * width, 2, native);
      for (const std::uint64_t schedule : emulate::schedules()) {
        Buffer<float> streams(std::size_t(n * count * width));
        const EmbedArgs embed{rows.data(), streams.data(), n, count, width};
        emulate::run(launch_embed(embed), embed, schedule);
        for (int s = 0; s < n * count; ++s)
          CHECK(same(streams.data() + s * width, rows.data() + s / count * width, width));
        const AddStreamsArgs add{more.data(), streams.data(), n, count, width, native};
        emulate::run(launch_add_streams(add), add, schedule);
        for (int s = 0; s < n * count; ++s)
          for (int c = 0; c < width; ++c) {
            const auto at = std::size_t(s / count * width + c);
            const float sum = rows[at] + more[at];
            const float want = native ? kernels::round_bf16(sum) : sum;
            if (streams[std::size_t(s * width + c)] != want) CHECK(false);
          }
      }
    }
  }
}

TEST_CASE("Pick: rows of several arrays") {
  const int widths[8] = {1, 64, 30, 2048, 4, 16, 515, 8}, rows = 6;
  Buffer<Token> tokens(3);
  for (Token& t : tokens) t = {};
  tokens[0].row = 0, tokens[1].row = 3, tokens[2].row = 5;
  for (const std::uint64_t schedule : emulate::schedules()) {
    std::vector<Buffer<float>> from, to;
    PickArgs a{{}, tokens.data(), 3, 8};
    for (int i = 0; i < 8; ++i) {
      from.push_back(normal(rows * widths[i], unsigned(i)));
      to.emplace_back(std::size_t(3 * widths[i]));
      a.array[i] = {from.back().data(), to.back().data(), widths[i]};
    }
    emulate::run(launch_pick(a), a, schedule);
    for (std::size_t i = 0; i < 8; ++i)
      for (std::size_t t = 0; t < 3; ++t)
        CHECK(same(to[i].data() + std::int64_t(t) * widths[i],
                   from[i].data() + tokens[t].row * widths[i], widths[i]));
  }
}

}  // namespace
}  // namespace v4i
