// KV rows and heads on their way into attention: rotary tables, the rows of a run, queries, and
// the rows that stay in a sequence's rings.  Spec 2.1, 2.4 and 4.  Definitions: kernels/rows.h,
// kernels/ops.h, kernels/quant.h; the same bits as the scalar kernels.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/types.h"

namespace v4i::kernels::cuda {

// table[i][t] = rope/2 cosines, then rope/2 sines of token t's position under freq[i] [rope/2].
struct RopeTableArgs {
  const Token* tokens = nullptr;  // [n]
  const float* freq[2] = {};      // a null one is left out
  float* table[2] = {};           // [n, rope]
  std::int32_t n = 0, rope = 0;
};

inline Launch launch_rope_table(const RopeTableArgs& a) {
  if (a.n == 0 || a.rope == 0) return {};
  const auto threads = static_cast<std::uint32_t>(a.n) * static_cast<std::uint32_t>(a.rope / 2);
  return {"v4i_rope_table", divide_up(threads, 128u), 2, 1, 128, 0};
}

// Row t: norm of kv[t] with gain, round, rope on the last channels, round; stored packed when
// native (quant.h pack_row; bytes behind the scales are zero), else as float32.
struct MakeRowsArgs {
  const float* kv = nullptr;       // [n, dim]
  const float* gain = nullptr;     // [dim]
  const float* cos_sin = nullptr;  // [n, rope]
  std::uint8_t* rows = nullptr;    // [n, row_bytes], aligned to 8
  std::int32_t n = 0, dim = 0, rope = 0, row_bytes = 0;
  float eps = 0;
  std::int32_t native = 0;
};
constexpr std::int32_t kMakeRowsWarps = 4;  // rows of a block

inline Launch launch_make_rows(const MakeRowsArgs& a) {
  if (a.n == 0) return {};
  return {
      "v4i_make_rows",
      static_cast<std::uint32_t>(divide_up(a.n, kMakeRowsWarps)),
      1,
      1,
      kMakeRowsWarps * 32,
      sizeof(float) * static_cast<std::size_t>(kMakeRowsWarps) * static_cast<std::size_t>(a.dim)};
}

// Queries in place: norm of each head without gain, rope on its last channels (query_heads of
// kernels/rows.h).
struct QueryHeadsArgs {
  float* x = nullptr;              // [n, heads, dim]
  const float* cos_sin = nullptr;  // [n, rope]
  std::int32_t n = 0, heads = 0, dim = 0, rope = 0;
  float eps = 0;
  std::int32_t native = 0;
};
constexpr std::uint32_t kQueryHeads = 16;  // of a block

inline Launch launch_query_heads(const QueryHeadsArgs& a) {
  if (a.n == 0) return {};
  const auto all = static_cast<std::uint32_t>(a.n) * static_cast<std::uint32_t>(a.heads);
  return {"v4i_query_heads", divide_up(all, kQueryHeads), 1, 1, kQueryHeads * 16, 0};
}

// The staged rows of the run into the rings of their sequences (Sequence.written): of each
// sequence the newest that fit.  The slot of a token is its position modulo the ring's slots.
struct KeepRowsArgs {
  const Token* tokens = nullptr;        // [n], all of the run: token t has staged row t
  const Sequence* sequences = nullptr;  // of the run
  const std::uint8_t* rows = nullptr;   // [n, row_bytes], aligned to 16
  const float* partial = nullptr;       // [n, partial_floats], aligned to 16; null: none
  std::int64_t window_offset = 0, partial_offset = 0;  // in the fixed state
  std::int32_t n = 0;
  std::int32_t row_bytes = 0, window_slots = 0;
  std::int32_t partial_floats = 0, partial_slots = 0;
};

inline Launch launch_keep_rows(const KeepRowsArgs& a) {
  if (a.n == 0) return {};
  return {"v4i_keep_rows", static_cast<std::uint32_t>(a.n), 1, 1, 128, 0};
}

}  // namespace v4i::kernels::cuda
