// Products of one or several matrices with the same tokens; see linear.h.
#include "kernels/cuda/kernel.cuh"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/product_few.cuh"
#include "kernels/cuda/product_float.cuh"
#include "kernels/cuda/product_many.cuh"

namespace v4i::kernels::cuda {

// The product whose block number `block` is.
V4I_DEVICE int product_of_block(const ProductsArgs& a, int block) {
  int i = 0;
  while (i + 1 < a.products && block >= a.first[i + 1]) ++i;
  return i;
}

// The rows of block `block` of a product; `rows` is how many a block has at most.
V4I_DEVICE Slab slab_of(const Product& p, int block, int rows, int first_token, int tokens) {
  const int group_rows = p.group_rows > 0 ? p.group_rows : p.w.rows;
  const int per_group = (group_rows + rows - 1) / rows, group = block / per_group;
  Slab s;
  s.data = p.w.data;
  s.scale = p.w.scale;
  s.begin = group * group_rows + (block - group * per_group) * rows;
  s.end = min(s.begin + rows, (group + 1) * group_rows);
  s.x = p.x + first_token * p.x_stride + group * p.group_stride;
  s.x_stride = p.x_stride;
  s.x_row = nullptr;
  s.y = p.y + first_token * p.y_stride;
  s.y_stride = p.y_stride;
  s.tokens = tokens;
  s.round = p.round != 0;
  return s;
}

template <int N>
V4I_DEVICE void products_few(const ProductsArgs& a) {
  const int block = static_cast<int>(blockIdx.x), i = product_of_block(a, block);
  const Product& p = a.product[i];
  const Slab s = slab_of(p, block - a.first[i], a.plan[i].tiles * kRowTile, 0, a.tokens);
  multiply_few<N>(p.w, s, a.plan[i], a.tokens);
}

}  // namespace v4i::kernels::cuda

using namespace v4i::kernels::cuda;

V4I_KERNEL(v4i_products_few, ProductsArgs, 256, 2) { products_few<1>(a); }

V4I_KERNEL(v4i_products_few16, ProductsArgs, 256, 2) { products_few<2>(a); }

V4I_KERNEL(v4i_products_many, ProductsArgs, 256, 1) {
  const int block = static_cast<int>(blockIdx.y), i = product_of_block(a, block);
  const int first = static_cast<int>(blockIdx.x) * kManyTokens;
  const Product& p = a.product[i];
  multiply_many(p.w, slab_of(p, block - a.first[i], static_cast<int>(blockDim.x), first,
                             min(a.tokens - first, kManyTokens)));
}

V4I_KERNEL(v4i_products_float, ProductsArgs, 256, 1) {
  const int block = static_cast<int>(blockIdx.x), i = product_of_block(a, block);
  const int first = static_cast<int>(blockIdx.y) * kFloatTokens;
  const Product& p = a.product[i];
  multiply_float(p.w,
                 slab_of(p, block - a.first[i], a.plan[i].tiles * kFloatRowTile, first,
                         min(a.tokens - first, kFloatTokens)),
                 a.plan[i]);
}
