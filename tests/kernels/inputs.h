// Random inputs and the tables that run here, for the tests of single kernels.
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"
#include "kernels/quant.h"

namespace v4i::test {

inline std::vector<const kernels::KernelTable*> tables() {
  std::vector<const kernels::KernelTable*> t(8);
  t.resize(std::size_t(kernels::available_kernels(t.data(), 8)));
  return t;
}

inline std::vector<float> normal(std::size_t n, unsigned seed) {
  std::mt19937 g(seed);
  std::normal_distribution<float> d;
  std::vector<float> x(n);
  for (float& v : x) v = d(g);
  return x;
}

inline std::vector<float> normal_bf16(std::size_t n, unsigned seed) {
  std::vector<float> x = normal(n, seed);
  kernels::round_bf16(x.data(), std::int64_t(n));
  return x;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace v4i::test
