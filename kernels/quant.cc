// Quantisation as the model was trained with it; see quant.h.
#include "kernels/quant.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/formats.h"

namespace v4i::kernels {

namespace {

constexpr int kFp8RowBlock = 32, kFp4RowBlock = 16;  // channels of a scale

float max_magnitude(const float* x, std::int64_t n) {
  float m = 0.0f;
  for (std::int64_t i = 0; i < n; ++i) m = std::max(m, std::fabs(x[i]));
  return m;
}

// Exponents of the scales of one block.
int fp8_exponent(const float* x, std::int64_t n) {
  return ceil_log2(std::max(max_magnitude(x, n), 1e-4f) * (1.0f / 448.0f));
}

int fp4_exponent(const float* x, std::int64_t n) {
  const float a = std::max(max_magnitude(x, n), 6.0f * 0x1p-126f);
  return std::max(ceil_log2(a * (1.0f / 6.0f)), -126);
}

float quantised_e4m3(float x, float inverse) {
  return round_e4m3(std::clamp(x * inverse, -448.0f, 448.0f));
}

float quantised_e2m1(float x, float inverse) {
  return decode_e2m1(encode_e2m1(std::clamp(x * inverse, -6.0f, 6.0f)));
}

// 1 / 2^e is representable up to e = 126; a larger scale means |x| > 2^128.
float inverse_power(int e) { return power_of_two(std::clamp(-e, -126, 127)); }

// Block by block: a power-of-two scale, and every value to the grid under it.
template <auto exponent, auto quantised>
void simulate(const float* x, float* y, std::int64_t n, std::int64_t block) {
  for (std::int64_t b = 0; b < n; b += block) {
    const std::int64_t m = std::min(block, n - b);
    const int e = exponent(x + b, m);
    const float scale = power_of_two(e), inverse = inverse_power(e);
    for (std::int64_t i = b; i < b + m; ++i) y[i] = quantised(x[i], inverse) * scale;
  }
}

void unpack_row_v4(const std::uint8_t* row, int dim, int rope, float* out) {
  const int plain = dim - rope;
  const std::uint8_t* scales = row + plain + 2 * rope;
  for (int i = 0; i < plain; ++i)
    out[i] = decode_e4m3(row[i]) * static_cast<float>(decode_ue8m0(scales[i / 64]));
  for (int i = 0; i < rope; ++i) {
    std::uint16_t code;
    std::memcpy(&code, row + plain + 2 * i, sizeof code);
    out[plain + i] = decode_bf16(code);
  }
}

// Codes of x[0, n), a scale for each `block` of them.
void pack_fp8(const float* x, int n, int block, std::uint8_t* codes, std::uint8_t* scales) {
  for (int b = 0; b < n; b += block) {
    const int m = std::min(block, n - b);
    const int e = fp8_exponent(x + b, m);
    const float inverse = inverse_power(e);
    for (int i = b; i < b + m; ++i) codes[i] = encode_e4m3(quantised_e4m3(x[i], inverse));
    scales[b / block] = static_cast<std::uint8_t>(e + 127);
  }
}

void pack_fp4(const float* x, int dim, std::uint8_t* out) {
  std::uint8_t* scales = out + (dim + 1) / 2;
  std::memset(out, 0, static_cast<std::size_t>((dim + 1) / 2));
  for (int b = 0; b < dim; b += kFp4RowBlock) {
    const int m = std::min(kFp4RowBlock, dim - b);
    const float top = std::max(max_magnitude(x + b, m), 6.0f * 0x1p-9f) / 6.0f;
    const float scale = round_e4m3(std::min(top, 448.0f));
    scales[b / kFp4RowBlock] = encode_e4m3(scale);
    for (int i = b; i < b + m; ++i) {
      const unsigned code = encode_e2m1(std::clamp(x[i] / scale, -6.0f, 6.0f));
      out[i / 2] = static_cast<std::uint8_t>(out[i / 2] | code << (i % 2 * 4));
    }
  }
}

}  // namespace

void fp8_sim(const float* x, float* y, std::int64_t n, std::int64_t block) {
  simulate<fp8_exponent, quantised_e4m3>(x, y, n, block);
}

void fp4_sim(const float* x, float* y, std::int64_t n, std::int64_t block) {
  simulate<fp4_exponent, quantised_e2m1>(x, y, n, block);
}

void round_bf16(float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = round_bf16(x[i]);
}

void hadamard(float* x, std::int64_t n) {
  for (std::int64_t h = 1; h < n; h *= 2) {
    for (std::int64_t i = 0; i < n; i += 2 * h) {
      for (std::int64_t j = i; j < i + h; ++j) {
        const float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
    }
  }
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)));
  for (std::int64_t i = 0; i < n; ++i) x[i] *= scale;
}

void pack_row(const float* x, int dim, int rope, std::uint8_t* out, RowForm form) {
  if (form == RowForm::kFloat32) {
    std::memcpy(out, x, sizeof(float) * static_cast<std::size_t>(dim));
  } else if (form == RowForm::kFp8) {
    pack_fp8(x, dim, kFp8RowBlock, out, out + dim);
  } else if (form == RowForm::kFp4) {
    pack_fp4(x, dim, out);
  } else {
    const int plain = dim - rope;
    pack_fp8(x, plain, 64, out, out + plain + 2 * rope);
    for (int i = 0; i < rope; ++i) {
      const std::uint16_t code = encode_bf16(x[plain + i]);
      std::memcpy(out + plain + 2 * i, &code, sizeof code);
    }
  }
}

void unpack_row(const std::uint8_t* row, int dim, int rope, float* out, RowForm form) {
  if (form == RowForm::kFloat32) {
    std::memcpy(out, row, sizeof(float) * static_cast<std::size_t>(dim));
  } else if (form == RowForm::kFp8) {
    for (int i = 0; i < dim; ++i)
      out[i] = decode_e4m3(row[i]) * static_cast<float>(decode_ue8m0(row[dim + i / kFp8RowBlock]));
  } else if (form == RowForm::kFp4) {
    const std::uint8_t* scales = row + (dim + 1) / 2;
    for (int i = 0; i < dim; ++i)
      out[i] = decode_e2m1(row[i / 2] >> (i % 2 * 4) & 15u) * decode_e4m3(scales[i / kFp4RowBlock]);
  } else {
    unpack_row_v4(row, dim, rope, out);
  }
}

void pack_key(const float* x, int dim, std::uint8_t* out) {
  std::memset(out, 0, static_cast<std::size_t>(dim / 2));
  std::uint8_t* scales = out + dim / 2;
  for (int b = 0; b < dim; b += 32) {
    const int m = std::min(32, dim - b);
    const int e = fp4_exponent(x + b, m);
    const float inverse = inverse_power(e);
    for (int i = b; i < b + m; ++i) {
      const unsigned code = encode_e2m1(std::clamp(x[i] * inverse, -6.0f, 6.0f));
      out[i / 2] = static_cast<std::uint8_t>(out[i / 2] | code << (i % 2 * 4));
    }
    scales[b / 32] = static_cast<std::uint8_t>(e + 127);
  }
}

void unpack_key(const std::uint8_t* key, int dim, float* out) {
  for (int i = 0; i < dim; ++i) {
    const unsigned code = key[i / 2] >> (i % 2 * 4) & 15u;
    out[i] = decode_e2m1(code) * static_cast<float>(decode_ue8m0(key[dim / 2 + i / 32]));
  }
}

}  // namespace v4i::kernels
