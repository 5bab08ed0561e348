// One query token's attention over stored KV rows.  Spec 2.7.
#pragma once

#include <cstdint>

namespace v4i::kernels {

// A stored KV row: packed = (dim - rope) e4m3 | rope bf16 | ue8m0 per 64; else float32.
struct RowShape {
  int dim, rope;
  bool packed;
};

// One query token's attention over `rows` candidate rows (keys are values), for
// heads [head_begin, head_end).  Spec 2.7:
//   l_i = (q . k_i) scale;  m = max l_i;  den = sum exp(l_i - m) + exp(sink - m)
//   out = (sum p(l_i) k_i) / den,   p = exp(l_i - m), rounded to bf16 when round_bf16
struct AttentionArgs {
  RowShape shape;
  const void* const* row;  // [rows]
  std::int64_t rows;
  const float* q;     // [heads, dim]
  const float* sink;  // [heads]
  float* out;         // [heads, dim]; may be q
  std::int64_t head_begin, head_end;
  float scale;
  bool round_bf16;  // q holds bf16 values then
  float* scratch;   // attention_scratch_floats(dim, rows, heads of the call)
};
constexpr std::int64_t kAttentionTile = 128;  // rows dequantised together
constexpr std::int64_t attention_scratch_floats(std::int64_t dim, std::int64_t rows,
                                                std::int64_t heads) {
  const std::int64_t lanes = (heads + 15) / 16 * 16;
  return kAttentionTile * dim + lanes * (dim / 2 + 1) + (rows + kAttentionTile) * lanes + 16;
}

}  // namespace v4i::kernels
