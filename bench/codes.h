// Weights for the benches of linear.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernels.h"

namespace v4i::bench {

// Random codes without a NaN among fp8 or bf16; `bytes` is a multiple of 8.
inline std::vector<std::uint8_t> random_codes(std::int64_t bytes) {
  std::vector<std::uint8_t> v(static_cast<std::size_t>(bytes));
  std::mt19937_64 g(1);
  for (std::size_t i = 0; i < v.size(); i += 8) {
    const std::uint64_t r = g() & 0x7777777777777777u;
    std::memcpy(&v[i], &r, 8);
  }
  return v;
}

inline std::int64_t row_bytes(kernels::Format f, std::int64_t cols) {
  switch (f) {
    case kernels::Format::kF32:
      return 4 * cols;
    case kernels::Format::kBF16:
      return 2 * cols;
    case kernels::Format::kFp8:
      return cols;
    case kernels::Format::kFp4:
      return cols / 2;
  }
  return 0;
}

}  // namespace v4i::bench
