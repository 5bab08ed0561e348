// Random weights of every format, for the tests of linear.
#pragma once

#include <memory>

#include "tests/kernels/inputs.h"

namespace v4i::test {

// As much scratch as linear may use and no more, not filled: megabytes, of which small matrices
// use little.
inline std::unique_ptr<float[]> linear_scratch(std::int64_t cols) {
  return std::make_unique_for_overwrite<float[]>(std::size_t(kernels::linear_scratch_floats(cols)));
}

// Every format, fp8 with the blocks of V4 and of V4.1.
struct Form {
  kernels::Format format;
  int block;  // of fp8: rows and columns with one scale
};
constexpr Form kForms[] = {{kernels::Format::kF32, 128},
                           {kernels::Format::kBF16, 128},
                           {kernels::Format::kFp8, 128},
                           {kernels::Format::kFp8, 32},
                           {kernels::Format::kFp4, 128}};

// A random weight of any format, with the memory behind it.
struct RandomWeight {
  std::vector<std::uint8_t> data, scale;
  Weight w{};

  RandomWeight(kernels::Format f, std::int64_t rows, std::int64_t cols, int block, unsigned seed) {
    std::mt19937 g(seed);
    w = {f, rows, cols, nullptr, nullptr, 0, 0};
    if (f == kernels::Format::kF32 || f == kernels::Format::kBF16) {
      const std::vector<float> x = normal(std::size_t(rows * cols), seed);
      data.resize(x.size() * (f == kernels::Format::kF32 ? 4 : 2));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const std::uint16_t b = kernels::encode_bf16(x[i]);
        if (f == kernels::Format::kF32) std::memcpy(&data[4 * i], &x[i], 4);
        if (f == kernels::Format::kBF16) std::memcpy(&data[2 * i], &b, 2);
      }
    } else {
      w.block_rows = f == kernels::Format::kFp8 ? block : 1;
      w.block_cols = f == kernels::Format::kFp8 ? block : 32;
      data.resize(std::size_t(f == kernels::Format::kFp8 ? rows * cols : rows * (cols / 2)));
      for (auto& b : data) {
        b = std::uint8_t(g());
        if (f == kernels::Format::kFp8 && (b & 0x7f) == 0x7f) b ^= 1;
      }
      const std::int64_t sr = (rows + w.block_rows - 1) / w.block_rows;
      const std::int64_t sc = (cols + w.block_cols - 1) / w.block_cols;
      scale.resize(std::size_t(sr * sc));
      for (auto& b : scale) b = std::uint8_t(120 + g() % 8);
    }
    w.data = data.data();
    w.scale = scale.empty() ? nullptr : scale.data();
  }
};

// The same weight without signs.
inline RandomWeight magnitudes(const RandomWeight& r) {
  RandomWeight m = r;
  for (std::size_t i = 0; i < m.data.size(); ++i) {
    if (r.w.format == kernels::Format::kFp4) m.data[i] &= 0x77;
    if (r.w.format == kernels::Format::kFp8) m.data[i] &= 0x7f;
    if (r.w.format == kernels::Format::kBF16 && i % 2 == 1) m.data[i] &= 0x7f;
    if (r.w.format == kernels::Format::kF32 && i % 4 == 3) m.data[i] &= 0x7f;
  }
  m.w.data = m.data.data();
  m.w.scale = m.scale.empty() ? nullptr : m.scale.data();
  return m;
}

}  // namespace v4i::test
