// Matrix times activations: the linear layers.  The definition is scalar::linear of kernels/cpu.
//
//   y[t, r] = sum_k W[r, k] x[t, k]
//
// Sums are float32 in an order that depends on the matrix's columns alone (product.cuh): a token's
// results have the same bits in v4i_products_few and v4i_products_many, in the products of experts
// (experts.h), and with any other tokens beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_plan.h"
#include "kernels/cuda/types.h"

namespace v4i::kernels::cuda {

// y[t * y_stride + r] = sum_k W[r, k] x[t * x_stride + r / group_rows * group_stride + k]
struct Product {
  Matrix w{};
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  std::int64_t group_stride = 0;
  std::int32_t group_rows = 0;  // 0: all rows read the same x; else it divides w.rows
  std::int32_t round = 0;       // results to bf16
};

constexpr int kMostProducts = 8;

// Products of the same tokens, in one launch.  Native: every value of x is a bf16 value.  Either
// all of them need float32 (needs_float of product_plan.h) or none.
struct ProductsArgs {
  Product product[kMostProducts];
  std::int32_t products = 0, tokens = 0;
  std::int32_t native = 0;
  // launch_products() fills these in.
  FewPlan plan[kMostProducts];
  std::int32_t first[kMostProducts + 1] = {};  // blocks of product i: first[i] to first[i + 1]
};

// Blocks that `rows` rows of each group make.
constexpr std::int32_t product_blocks(const Product& p, std::int32_t rows) {
  const std::int32_t group = p.group_rows > 0 ? p.group_rows : p.w.rows;
  return group == 0 ? 0 : p.w.rows / group * divide_up(group, rows);
}

// Fills in `first`; rows_of(i): rows of a block of product i.
template <class RowsOf>
constexpr std::int32_t number_blocks(ProductsArgs& a, const RowsOf& rows_of) {
  for (int i = 0; i < a.products; ++i)
    a.first[i + 1] = a.first[i] + product_blocks(a.product[i], rows_of(i));
  return a.first[a.products];
}

inline Launch launch_products_few(ProductsArgs& a) {
  const auto rows_of = [&](int i) { return a.plan[i].tiles * kRowTile; };
  for (int i = 0; i < a.products; ++i) a.plan[i] = few_plan(a.product[i].w, a.tokens);
  for (int most = 8; number_blocks(a, rows_of) < kEnoughBlocks && most > 1; most /= 2)
    for (int i = 0; i < a.products; ++i) a.plan[i] = smaller(a.product[i].w, a.plan[i], a.tokens);
  Launch l;
  l.kernel = a.tokens <= 8 ? "v4i_products_few" : "v4i_products_few16";
  l.x = static_cast<std::uint32_t>(number_blocks(a, rows_of));
  l.threads = 32 * kProductWarps;
  for (int i = 0; i < a.products; ++i) {
    const FewShared s = few_shared(a.product[i].w, a.plan[i], a.tokens);
    l.shared = l.shared > std::size_t(s.bytes()) ? l.shared : std::size_t(s.bytes());
  }
  return l;
}

// A block takes as many rows as it has threads.
inline Launch launch_products_many(ProductsArgs& a) {
  Launch l;
  l.kernel = "v4i_products_many";
  l.threads = 32 * kProductWarps;
  l.x = static_cast<std::uint32_t>(divide_up(a.tokens, kManyTokens));
  const auto rows_of = [&](int) { return static_cast<std::int32_t>(l.threads); };
  for (; l.threads > 128; l.threads /= 2)
    if (number_blocks(a, rows_of) * static_cast<std::int32_t>(l.x) >= kEnoughBlocks) break;
  l.y = static_cast<std::uint32_t>(number_blocks(a, rows_of));
  for (int i = 0; i < a.products; ++i) {
    const auto bytes =
        std::size_t(many_shared(a.product[i].w.format, static_cast<std::int32_t>(l.threads)));
    l.shared = l.shared > bytes ? l.shared : bytes;
  }
  return l;
}

inline Launch launch_products_float(ProductsArgs& a) {
  const auto rows_of = [&](int i) { return a.plan[i].tiles * kFloatRowTile; };
  Launch l;
  l.kernel = "v4i_products_float";
  l.threads = 32 * kProductWarps;
  for (int i = 0; i < a.products; ++i) {
    a.plan[i] = float_plan(a.product[i].w);
    const auto bytes = std::size_t(float_shared(a.plan[i]));
    l.shared = l.shared > bytes ? l.shared : bytes;
  }
  l.x = static_cast<std::uint32_t>(number_blocks(a, rows_of));
  l.y = static_cast<std::uint32_t>(divide_up(a.tokens, kFloatTokens));
  return l;
}

// Fills in what the kernels want to know beside the products.
inline Launch launch_products(ProductsArgs& a) {
  if (a.tokens == 0 || a.products == 0) return {};
  if (needs_float(a.product[0].w, a.native != 0)) return launch_products_float(a);
  return a.tokens <= kFewTokens ? launch_products_few(a) : launch_products_many(a);
}

}  // namespace v4i::kernels::cuda
