// Number formats, quantisation and small operations against their definitions.
#include "kernels/formats.h"

#include <cmath>
#include <vector>

#include "kernels/ops.h"
#include "kernels/quant.h"
#include "tests/support/catch.h"

using namespace v4i::kernels;
using v4i::RowForm;

TEST_CASE("e4m3 decodes every code as the OCP table says", "[formats]") {
  CHECK(decode_e4m3(0x00) == 0.0f);
  CHECK(decode_e4m3(0x01) == 0x1p-9f);
  CHECK(decode_e4m3(0x08) == 0x1p-6f);
  CHECK(decode_e4m3(0x38) == 1.0f);
  CHECK(decode_e4m3(0x7e) == 448.0f);
  CHECK(std::isnan(decode_e4m3(0x7f)));
  CHECK(std::isnan(decode_e4m3(0xff)));
  for (int c = 0; c < 0x7e; ++c) {
    CHECK(decode_e4m3(std::uint8_t(c)) < decode_e4m3(std::uint8_t(c + 1)));
    CHECK(decode_e4m3(std::uint8_t(c | 0x80)) == -decode_e4m3(std::uint8_t(c)));
  }
}

TEST_CASE("e4m3 rounding picks the nearest code, ties to even, over all neighbours", "[formats]") {
  for (int c = 0; c < 0x7e; ++c) {
    const float a = decode_e4m3(std::uint8_t(c)), b = decode_e4m3(std::uint8_t(c + 1));
    const float middle = (a + b) / 2;
    CAPTURE(c, a, b);
    CHECK(round_e4m3(a) == a);
    CHECK(encode_e4m3(a) == c);
    CHECK(encode_e4m3(-a) == (c | 0x80));
    CHECK(round_e4m3(std::nextafter(middle, 0.0f)) == a);
    CHECK(round_e4m3(std::nextafter(middle, 1000.0f)) == b);
    CHECK(round_e4m3(middle) == (c % 2 == 0 ? a : b));
    CHECK(round_e4m3(-middle) == -(c % 2 == 0 ? a : b));
  }
}

TEST_CASE("e2m1 rounding picks the nearest code, ties to even", "[formats]") {
  for (unsigned c = 0; c < 7; ++c) {
    const float a = decode_e2m1(c), b = decode_e2m1(c + 1), middle = (a + b) / 2;
    CHECK(encode_e2m1(a) == c);
    CHECK(encode_e2m1(-b) == ((c + 1) | 8));
    CHECK(encode_e2m1(std::nextafter(middle, 0.0f)) == c);
    CHECK(encode_e2m1(std::nextafter(middle, 9.0f)) == c + 1);
    CHECK(encode_e2m1(middle) == (c % 2 == 0 ? c : c + 1));
  }
}

TEST_CASE("ue8m0 is an exponent for every code", "[formats]") {
  for (int c = 0; c < 255; ++c) CHECK(decode_ue8m0(std::uint8_t(c)) == std::ldexp(1.0, c - 127));
  CHECK(std::isnan(decode_ue8m0(255)));
}

TEST_CASE("fp8_sim gives the check values of the specification", "[quant]") {
  const std::vector<float> x = {1, -.3f, .01f, 448, .0009f, 3.3f, -17.7f, 100};
  std::vector<float> y(8);
  fp8_sim(x.data(), y.data(), 8, 64);
  CHECK(y == std::vector<float>{1, -.3125f, .009765625f, 448, 0, 3.25f, -18, 96});
  std::vector<float> z = x;
  z[3] = 449;
  fp8_sim(z.data(), z.data(), 8, 64);
  CHECK(z == std::vector<float>{1, -.3125f, .01171875f, 448, 0, 3.25f, -18, 96});
}

TEST_CASE("fp4_sim gives the check values of the specification", "[quant]") {
  std::vector<float> x = {1, -.3f, .25f, 6, .75f, 2.5f, -5, 3.5f};
  fp4_sim(x.data(), x.data(), 8, 32);
  CHECK(x == std::vector<float>{1, -.5f, 0, 6, 1, 2, -4, 4});
}

TEST_CASE("a scale is the smallest power of two that fits, at 448 * 2^k and just above",
          "[quant]") {
  for (int k = -10; k <= 20; ++k) {
    float x = std::ldexp(448.0f, k), y;
    fp8_sim(&x, &y, 1, 64);
    CHECK(y == x);
    x = std::nextafter(x, 1e30f);
    fp8_sim(&x, &y, 1, 64);
    CHECK(y == std::ldexp(448.0f, k));
  }
}

TEST_CASE("packing values that lie on the grid loses nothing", "[quant]") {
  for (int dim : {512, 128, 100, 32}) {
    const int rope = dim >= 128 ? 64 : 8;
    std::vector<float> x(dim), back(dim);
    std::uint32_t s = 7;
    for (float& v : x) v = float(int((s = s * 1664525u + 1013904223u) >> 8) - (1 << 23)) * 0x1p-20f;
    fp8_sim(x.data(), x.data(), dim - rope, 64);
    round_bf16(x.data() + dim - rope, rope);
    std::vector<std::uint8_t> row(dim * 3);
    pack_row(x.data(), dim, rope, row.data());
    unpack_row(row.data(), dim, rope, back.data());
    CHECK(back == x);
    fp4_sim(x.data(), x.data(), dim, 32);
    pack_key(x.data(), dim, row.data());
    unpack_key(row.data(), dim, back.data());
    CHECK(back == x);
  }
}

// Spec of V4.1, 3.3: the scale of 16 channels is e4m3(max(max|x|, 6 * 2^-9) / 6).
TEST_CASE("fp4 rows hold the nearest e2m1 of x / scale", "[quant]") {
  std::vector<float> x(48, 0.0f), back(48);
  for (int i = 0; i < 16; ++i) x[std::size_t(i)] = float(i - 8) * 0.37f;  // max 2.96: scale 0.5
  x[16] = 1e-6f;                                                          // all small: scale 2^-9
  x[32] = 6e9f, x[33] = -1.0f;                                            // scale ends at 448
  std::vector<std::uint8_t> row(24 + 3);
  pack_row(x.data(), 48, 0, row.data(), RowForm::kFp4);
  CHECK(decode_e4m3(row[24]) == 0.5f);
  CHECK(decode_e4m3(row[25]) == 0x1p-9f);
  CHECK(decode_e4m3(row[26]) == 448.0f);
  unpack_row(row.data(), 48, 0, back.data(), RowForm::kFp4);
  const float want[] = {-3, -3,    -2,    -2, -1.5f, -1, -0.75f, -0.25f,
                        0,  0.25f, 0.75f, 1,  1.5f,  2,  2,      3};
  for (int i = 0; i < 16; ++i) CHECK(back[std::size_t(i)] == want[i]);
  CHECK(back[16] == 0);
  CHECK(back[32] == 6 * 448.0f);
  CHECK(back[33] == 0);
}

TEST_CASE("rows of fp8 in blocks of 32 lose nothing of values on the grid", "[quant]") {
  for (int dim : {512, 100}) {
    std::vector<float> x(static_cast<std::size_t>(dim)), back(x);
    std::uint32_t s = 9;
    for (float& v : x) v = float(int((s = s * 1664525u + 1013904223u) >> 8) - (1 << 23)) * 0x1p-20f;
    fp8_sim(x.data(), x.data(), dim, 32);
    std::vector<std::uint8_t> row(static_cast<std::size_t>(2 * dim));
    pack_row(x.data(), dim, 64, row.data(), RowForm::kFp8);
    unpack_row(row.data(), dim, 64, back.data(), RowForm::kFp8);
    CHECK(back == x);
  }
}

TEST_CASE("hadamard is its own inverse and has the Sylvester order", "[quant]") {
  std::vector<float> x(128, 0.0f);
  x[1] = 1;
  hadamard(x.data(), 128);
  for (int i = 0; i < 128; ++i)
    CHECK(x[i] == Approx((i % 2 == 0 ? 1 : -1) / std::sqrt(128.0)).epsilon(1e-6));
  hadamard(x.data(), 128);
  for (int i = 0; i < 128; ++i) CHECK(x[i] == Approx(i == 1 ? 1.0 : 0.0).margin(1e-6));
}

TEST_CASE("sinkhorn gives the check matrix of the specification", "[ops]") {
  float m[16] = {2, 0, -1, .5f, 0, 1, 3, -2, 1, 1, 1, 1, -3, 0, 2, 4};
  const float want[16] = {.707303f, .190358f, .023396f, .078944f, .050462f, .272774f,
                          .673347f, .003417f, .240779f, .478816f, .159963f, .120441f,
                          .001455f, .058051f, .143293f, .797197f};
  sinkhorn(m, 4, 20, 1e-6f);
  for (int i = 0; i < 16; ++i) CHECK(m[i] == Approx(want[i]).margin(2e-6));
}

TEST_CASE("sqrt_softplus does not underflow where log(1 + exp(x)) would", "[ops]") {
  CHECK(sqrt_softplus(-40.0f) == Approx(std::sqrt(std::exp(-40.0))).epsilon(1e-5));
  CHECK(sqrt_softplus(30.0f) == Approx(std::sqrt(30.0)).epsilon(1e-6));
  CHECK(sqrt_softplus(0.0f) == Approx(std::sqrt(std::log(2.0))).epsilon(1e-6));
}
