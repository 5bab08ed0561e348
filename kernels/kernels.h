// KernelTable: one pointer per operation.
//
// Kernels are pure functions on plain pointers.  They allocate nothing, throw
// nothing, keep no state, never change the floating-point environment and are right
// under flush-to-zero.  The scalar table is the definition; every other table is
// tested against it.  Within one table a result depends on its own inputs only: an
// output element has the same bits whatever else is in the same call.
#pragma once

#include <cstdint>

namespace v4i::kernels {

enum class Format { kF32, kBF16, kFp8, kFp4 };

// W of y = W x, row-major [rows, cols].
//   kFp8  e4m3 codes; scale [ceil(rows / block_rows)][ceil(cols / block_cols)] ue8m0
//   kFp4  cols / 2 bytes a row, low nibble first; scale [rows][cols / 32] ue8m0
struct Weight {
  Format format;
  std::int64_t rows, cols;
  const void* data;
  const std::uint8_t* scale;
  int block_rows, block_cols;
};

// y[t, r] = sum_k W[r, k] x[t, k] for t < tokens and r in [row_begin, row_end).
// Float32 accumulation in an order that depends on cols alone.
struct LinearArgs {
  Weight w;
  std::int64_t row_begin, row_end;
  const float* x;  // [*, x_stride]
  std::int64_t x_stride;
  const std::int32_t* x_row;  // token t reads row x_row[t] of x; null: row t
  float* y;                   // [tokens, y_stride], column r - y_begin is W's row r
  std::int64_t y_stride;
  std::int64_t tokens;
  bool round_bf16;  // round results to bf16
  float* scratch;   // linear_scratch_floats(cols) floats, private to the thread
  std::int64_t y_begin = 0;
};
constexpr std::int64_t kLinearRows = 8;  // rows dequantised together
constexpr std::int64_t linear_scratch_floats(std::int64_t cols) {
  return kLinearRows * ((cols + 15) / 16 * 16);
}

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
  float* out;         // [heads, dim]
  std::int64_t head_begin, head_end;
  float scale;
  bool round_bf16;
  float* scratch;  // attention_scratch_floats(dim, rows, heads of the call)
};
constexpr std::int64_t kAttentionTile = 16;  // rows dequantised together
constexpr std::int64_t attention_scratch_floats(std::int64_t dim, std::int64_t rows,
                                                std::int64_t heads) {
  return kAttentionTile * dim + (rows + kAttentionTile) * heads;
}

// Indexer scores of one query token against stored keys.  Spec 2.6:
//   score[j] = sum_h relu(q_h . k_j) w_h
// With round_bf16: dot -> bf16, relu, product -> bf16, sum -> bf16.
struct IndexArgs {
  int dim, heads;
  bool packed;               // key: dim / 2 e2m1 pairs | ue8m0 per 32; else float32
  const std::uint8_t* keys;  // consecutive keys
  std::int64_t count, key_bytes;
  const float* q;  // [heads, dim]
  const float* w;  // [heads]
  float* score;    // [count]
  bool round_bf16;
};

struct KernelTable {
  const char* name;
  void (*linear)(const LinearArgs&);
  void (*attention)(const AttentionArgs&);
  void (*index_scores)(const IndexArgs&);
};

// The best table that runs here, or the one named by `forced`; null when that name
// is unknown or cannot run on this processor.
const KernelTable* select_kernels(const char* forced);
// Tables that run here, best first; returns how many, writes at most `cap`.
int available_kernels(const KernelTable** out, int cap);

}  // namespace v4i::kernels
