// One query token's attention over stored KV rows.  Spec 2.7.
#pragma once

#include <cstdint>
#include <limits>

#include "lib/tensor/row_form.h"

namespace v4i::kernels {

// A stored KV row.
struct RowShape {
  int dim, rope;
  RowForm form;
};

// One query token's attention over `rows` candidate rows (keys are values), for
// heads [head_begin, head_end).  Spec 2.7:
//   l_i = (q . k_i) scale;  m = max l_i;  den = sum exp(l_i - m) + exp(sink - m)
//   out = (sum p(l_i) k_i) / den,   p = exp(l_i - m), rounded to bf16 when round_bf16
struct AttentionArgs {
  RowShape shape;          // of rows below `split`
  const void* const* row;  // [rows]
  std::int64_t rows;
  const float* q;     // [heads, dim]
  const float* sink;  // [heads]
  float* out;         // [heads, dim]; may be q
  std::int64_t head_begin, head_end;
  float scale;
  bool round_bf16;  // q holds bf16 values then
  float* scratch;   // attention_scratch_floats(dim, rows, heads of the call)
  std::int64_t split = std::numeric_limits<std::int64_t>::max();  // from here on rows have
  RowForm rest = RowForm::kFloat32;                               // this form

  RowShape shape_of(std::int64_t i) const {
    return i < split ? shape : RowShape{shape.dim, shape.rope, rest};
  }
};
constexpr std::int64_t kAttentionTile = 128;  // rows dequantised together
constexpr std::int64_t attention_scratch_floats(std::int64_t dim, std::int64_t rows,
                                                std::int64_t heads) {
  const std::int64_t lanes = (heads + 15) / 16 * 16;
  return kAttentionTile * dim + lanes * (dim / 2 + 1) + (rows + kAttentionTile) * lanes + 16;
}

// Queries of one head against a tile of keys, all to all, added to what earlier tiles gave:
//   l_i = (q . k_i) scale;  m = max(top, max l_i);  keep = exp(top - m)
//   sum <- keep sum + sum_i p(l_i) v_i,   p = exp(l_i - m), rounded to bf16 when round_bf16
//   mass <- keep mass + sum_i exp(l_i - m);  top <- m
// What a query found is sum / mass in the end.  top is -infinity before the first tile, mass and
// sum are 0.
struct DenseAttentionArgs {
  const float* q;  // [queries, q_stride], dim of them
  std::int64_t queries, q_stride;
  const float* k;  // [dim, kDenseTile]: a key is a column
  const float* v;  // [keys, dim]
  int keys;        // at most kDenseTile
  int dim;
  float scale;
  bool round_bf16;
  float *top, *mass, *sum;  // [queries], [queries], [queries, dim]
};
constexpr int kDenseTile = 64;

}  // namespace v4i::kernels
