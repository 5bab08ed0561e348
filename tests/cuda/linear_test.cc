// Products on the device against the definition, scalar::linear, and against each other.
#include "kernels/cuda/linear.h"

#include <random>

#include "tests/cuda/matrices.h"
#include "tests/support/catch.h"

namespace v4i {
namespace {

using namespace kernels::cuda;
using kernels::Format;
using test::DeviceMatrix;
using test::RandomWeight;

struct Shape {
  Format format;
  std::int64_t rows, cols;
  int block;  // of fp8
};

std::string name(const Shape& s) {
  return std::to_string(int(s.format)) + ": " + std::to_string(s.rows) + " x " +
         std::to_string(s.cols) + " / " + std::to_string(s.block);
}

// A matrix, tokens for it, and room for the results: rows further apart than they are long.
struct Case {
  RandomWeight weight;
  DeviceMatrix matrix;
  std::int64_t tokens, x_stride, y_stride;
  std::vector<float> host_x;
  emulate::Buffer<float> x, y;

  Case(const Shape& s, std::int64_t n, bool native, unsigned seed, std::int64_t x_gap = 0)
      : weight(s.format, s.rows, s.cols, s.block, seed),
        matrix(weight),
        tokens(n),
        x_stride(s.cols + x_gap),
        y_stride(s.rows + 3),
        host_x(native ? test::normal_bf16(std::size_t(n * x_stride), seed + 1)
                      : test::normal(std::size_t(n * x_stride), seed + 1)),
        x(std::vector<float>(host_x.begin(), host_x.end() - x_gap)),
        y(std::size_t(n * y_stride - 3)) {}

  Product product(bool round) const {
    Product p;
    p.w = matrix.m;
    p.x = x.data();
    p.x_stride = x_stride;
    p.y = const_cast<float*>(y.data());
    p.y_stride = y_stride;
    p.round = round;
    return p;
  }
  float at(std::int64_t token, std::int64_t row) const {
    return y[std::size_t(token * y_stride + row)];
  }
};

ProductsArgs args_of(const Product& p, std::int64_t tokens, bool native) {
  ProductsArgs a;
  a.product[0] = p;
  a.products = 1;
  a.tokens = static_cast<std::int32_t>(tokens);
  a.native = native;
  return a;
}

using MakeLaunch = Launch (*)(ProductsArgs&);

// Runs a case under each schedule; the results must be the same every time.
void run(Case& c, bool native, bool round, MakeLaunch make) {
  ProductsArgs a = args_of(c.product(round), c.tokens, native);
  const Launch launch = make(a);
  REQUIRE(launch.shared <= 99 * 1024);
  std::vector<float> first;
  for (std::uint64_t seed : emulate::schedules()) {
    c.y.poison();
    emulate::run(launch, a, seed);
    if (first.empty()) first = c.y.vector();
    REQUIRE(test::same_bits(first, c.y.vector()));
  }
}

// The results of `c` are the definition's, and what lies between them is untouched.
void check(const Case& c, bool round) {
  const Weight& w = c.weight.w;
  const std::vector<float> y = test::defined_product(w, c.host_x.data(), c.x_stride, c.tokens);
  const std::vector<float> e = test::product_errors(c.weight, c.host_x, c.x_stride, c.tokens);
  std::int64_t wrong = 0, touched = 0;
  const emulate::Buffer<float> poison(1);
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    for (std::int64_t r = 0; r < w.rows; ++r) {
      const auto i = std::size_t(t * w.rows + r);
      const float most = e[i] + (round ? std::fabs(y[i]) * 0x1p-8f : 0.0f);
      wrong += !(std::fabs(c.at(t, r) - y[i]) <= most);
      if (round) wrong += c.at(t, r) != kernels::round_bf16(c.at(t, r));
    }
    for (std::int64_t r = w.rows; r < c.y_stride && t + 1 < c.tokens; ++r) {
      const float gap = c.at(t, r);
      touched += std::memcmp(&gap, poison.data(), sizeof gap) != 0;
    }
  }
  CHECK(wrong == 0);
  CHECK(touched == 0);
}

bool same_tokens(const Case& a, std::int64_t from, const Case& b, std::int64_t to,
                 std::int64_t count) {
  for (std::int64_t t = 0; t < count; ++t)
    if (std::memcmp(a.y.data() + (from + t) * a.y_stride, b.y.data() + (to + t) * b.y_stride,
                    std::size_t(a.matrix.m.rows) * sizeof(float)) != 0)
      return false;
  return true;
}

const std::vector<Shape> kShapes = {
    {Format::kFp8, 17, 40, 16},    {Format::kFp8, 1, 1, 128},    {Format::kFp8, 50, 600, 32},
    {Format::kFp8, 33, 1100, 128}, {Format::kFp8, 40, 1040, 48}, {Format::kFp4, 17, 34, 0},
    {Format::kFp4, 40, 1216, 0},   {Format::kFp4, 1, 512, 0},    {Format::kBF16, 17, 24, 0},
    {Format::kBF16, 35, 1000, 0},  {Format::kBF16, 3, 513, 0},
};

unsigned fresh() { return std::random_device()(); }

TEST_CASE("products of few tokens are those of the definition, whatever the shape") {
  const unsigned seed = fresh();
  for (const Shape& s : kShapes) {
    for (std::int64_t tokens : {1, 3, 8, 9, 16}) {
      INFO(name(s) << ", " << tokens << " tokens, seed " << seed);
      const bool round = tokens % 2 == 0;
      Case c(s, tokens, true, seed, tokens == 3 ? 1 : 0);
      run(c, true, round, launch_products);
      check(c, round);
    }
  }
}

TEST_CASE("products of many tokens are those of the definition, whatever the shape") {
  const unsigned seed = fresh();
  for (const Shape& s : kShapes) {
    for (std::int64_t tokens : {17, 40, 70}) {
      INFO(name(s) << ", " << tokens << " tokens, seed " << seed);
      Case c(s, tokens, true, seed, tokens == 40 ? 1 : 0);
      run(c, true, tokens == 70, launch_products);
      check(c, tokens == 70);
    }
  }
}

TEST_CASE("products in float32 are those of the definition, in every format") {
  const unsigned seed = fresh();
  std::vector<Shape> shapes = kShapes;
  shapes.push_back({Format::kF32, 1, 1, 0});
  shapes.push_back({Format::kF32, 30, 1030, 0});
  shapes.push_back({Format::kF32, 5, 33000, 0});  // more segments than a pass
  for (const Shape& s : shapes) {
    const bool native = s.format == Format::kF32 && s.rows == 30;
    for (std::int64_t tokens : {1, 18}) {
      if (s.cols > 30000 && tokens > 1) continue;
      INFO(name(s) << ", " << tokens << " tokens, seed " << seed);
      Case c(s, tokens, native, seed, tokens == 18 ? 2 : 0);
      run(c, native, native, launch_products);
      check(c, native);
    }
  }
}

TEST_CASE("a token's products have the same bits alone, among few and among many") {
  const unsigned seed = fresh();
  for (const Shape& s : kShapes) {
    INFO(name(s) << ", seed " << seed);
    Case many(s, 67, true, seed), few(s, 16, true, seed), alone(s, 1, true, seed);
    few.x = emulate::Buffer<float>(std::vector<float>(many.x.begin() + 51 * many.x_stride,
                                                      many.x.begin() + 67 * many.x_stride));
    alone.x = emulate::Buffer<float>(std::vector<float>(many.x.begin() + 60 * many.x_stride,
                                                        many.x.begin() + 61 * many.x_stride));
    run(many, true, false, launch_products_many);
    run(few, true, false, launch_products_few);
    run(alone, true, false, launch_products_few);
    CHECK(same_tokens(many, 51, few, 0, 16));
    CHECK(same_tokens(many, 60, alone, 0, 1));
    run(few, true, false, launch_products_many);
    run(alone, true, false, launch_products_many);
    CHECK(same_tokens(many, 51, few, 0, 16));
    CHECK(same_tokens(many, 60, alone, 0, 1));
  }
}

TEST_CASE("a token's products in float32 have the same bits alone and in a batch") {
  const unsigned seed = fresh();
  for (const Shape& s : {Shape{Format::kFp8, 33, 1100, 128}, Shape{Format::kF32, 9, 700, 0}}) {
    INFO(name(s) << ", seed " << seed);
    Case many(s, 37, false, seed), alone(s, 1, false, seed);
    alone.x = emulate::Buffer<float>(std::vector<float>(many.x.begin() + 20 * many.x_stride,
                                                        many.x.begin() + 21 * many.x_stride));
    run(many, false, false, launch_products);
    run(alone, false, false, launch_products);
    CHECK(same_tokens(many, 20, alone, 0, 1));
  }
}

TEST_CASE("scales that bf16 has no room to fold are multiplied with, to the same bits") {
  const unsigned seed = fresh();
  for (Format f : {Format::kFp8, Format::kFp4}) {
    const Shape s{f, 20, 600, 32};
    Case few(s, 5, true, seed), many(s, 5, true, seed);
    for (Case* c : {&few, &many})
      for (std::size_t i = 0; i < c->weight.scale.size(); ++i)
        c->matrix.scale[i] = c->weight.scale[i] = std::uint8_t(i % 2 == 0 ? 40 + i % 20 : 180);
    INFO(name(s) << ", seed " << seed);
    run(few, true, false, launch_products_few);
    run(many, true, false, launch_products_many);
    check(few, false);
    CHECK(same_tokens(few, 0, many, 0, 5));
  }
}

// The plan changes with the size of a launch: shapes of V4-Flash, of which few rows are enough.
TEST_CASE("rows of V4-Flash's shapes are those of the definition") {
  const unsigned seed = fresh();
  for (const Shape& s : {Shape{Format::kFp8, 40, 4096, 128}, Shape{Format::kFp4, 24, 2048, 0},
                         Shape{Format::kFp8, 16, 8192, 128}, Shape{Format::kBF16, 16, 4096, 0}}) {
    for (std::int64_t tokens : {1, 12, 65}) {
      INFO(name(s) << ", " << tokens << " tokens, seed " << seed);
      Case c(s, tokens, true, seed);
      run(c, true, false, launch_products);
      check(c, false);
    }
  }
}

TEST_CASE("blocks of several row tiles and passes have the bits of the smallest") {
  const unsigned seed = fresh();
  const Shape s{Format::kFp8, 70, 1300, 32};
  Case c(s, 9, true, seed);
  run(c, true, false, launch_products_few);
  const std::vector<float> y = c.y.vector();
  for (int tiles : {1, 2, 5}) {
    for (int pass : {1, 2, 3}) {
      ProductsArgs a = args_of(c.product(false), c.tokens, true);
      Launch l = launch_products_few(a);
      a.plan[0] = {tiles, pass};
      l.x = static_cast<std::uint32_t>(number_blocks(a, [&](int) { return tiles * kRowTile; }));
      l.shared = std::size_t(few_shared(c.matrix.m, a.plan[0], 9).bytes());
      c.y.poison();
      emulate::run(l, a, fresh());
      INFO(tiles << " tiles, " << pass << " segments a pass, seed " << seed);
      CHECK(test::same_bits(y, c.y.vector()));
    }
  }
}

TEST_CASE("products of one launch do not disturb each other") {
  const unsigned seed = fresh();
  for (std::int64_t tokens : {2, 20}) {
    std::vector<Case> together, alone;
    for (int round = 0; round < 2; ++round) {
      std::vector<Case>& cases = round == 0 ? together : alone;
      for (std::size_t i : {3, 6, 9, 0, 5}) cases.emplace_back(kShapes[i], tokens, true, seed);
    }
    ProductsArgs a = args_of({}, tokens, true);
    a.products = 5;
    for (int i = 0; i < 5; ++i) a.product[i] = together[std::size_t(i)].product(i % 2 == 0);
    const Launch launch = launch_products(a);
    for (std::uint64_t schedule : emulate::schedules()) {
      for (Case& c : together) c.y.poison();
      emulate::run(launch, a, schedule);
      for (std::size_t i = 0; i < 5; ++i) {
        INFO(tokens << " tokens, product " << i << ", seed " << seed);
        run(alone[i], true, i % 2 == 0, launch_products);
        CHECK(same_tokens(together[i], 0, alone[i], 0, tokens));
      }
    }
  }
}

// wo_a: each group of rows has its own part of x.
TEST_CASE("groups of rows read their own columns of x") {
  const unsigned seed = fresh();
  constexpr std::int64_t kGroups = 3, kRows = 21, kCols = 520;
  for (std::int64_t tokens : {2, 18}) {
    for (bool native : {true, false}) {
      INFO(tokens << " tokens, native " << native << ", seed " << seed);
      const Shape all{Format::kFp8, kGroups * kRows, kCols, 16};
      Case c(all, tokens, native, seed, (kGroups - 1) * kCols);
      c.x = emulate::Buffer<float>(c.host_x);
      Product p = c.product(false);
      p.group_rows = kRows;
      p.group_stride = kCols;
      ProductsArgs a = args_of(p, tokens, native);
      const Launch launch = launch_products(a);
      for (std::uint64_t schedule : emulate::schedules()) {
        c.y.poison();
        emulate::run(launch, a, schedule);
        for (std::int64_t g = 0; g < kGroups; ++g) {
          const float* x = c.host_x.data() + g * kCols;
          const auto y = test::defined_product(c.weight.w, x, c.x_stride, tokens);
          std::int64_t wrong = 0;
          for (std::int64_t t = 0; t < tokens; ++t)
            for (std::int64_t r = g * kRows; r < (g + 1) * kRows; ++r)
              wrong += !(std::fabs(c.at(t, r) - y[std::size_t(t * all.rows + r)]) < 0.05f);
          CHECK(wrong == 0);
        }
      }
    }
  }
}

TEST_CASE("nothing needs more shared memory than every device has") {
  std::size_t most = 0;
  for (int format = 0; format < 4; ++format) {
    for (std::int32_t cols : {1, 512, 1024, 1536, 2048, 3072, 4096, 7168, 8192, 16384, 100000}) {
      for (std::int32_t rows : {1, 512, 1024, 4096, 32768, 129280}) {
        for (std::int32_t tokens : {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 64, 65, 2048}) {
          for (int block : {16, 32, 128}) {
            ProductsArgs a;
            a.products = 1;
            a.tokens = tokens;
            a.native = 1;
            Matrix& w = a.product[0].w;
            w.format = format;
            w.rows = rows;
            w.cols = cols;
            w.block_cols = w.block_rows = block;
            most = std::max(most, launch_products(a).shared);
          }
        }
      }
    }
  }
  CHECK(most <= 99 * 1024);
}

}  // namespace
}  // namespace v4i
