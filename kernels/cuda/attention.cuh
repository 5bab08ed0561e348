// What the attention kernels share: where a token's candidate rows lie, how they are divided into
// chunks, how softmaxes are merged, and what is done to a finished head.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/row.cuh"

namespace v4i::kernels::cuda {

// The candidate rows of a token, see attention.h.
struct Candidates {
  const uint8_t* ring;     // window rows of earlier runs
  const uint8_t* staged;   // the token's own row
  uint8_t* const* block;   // compressed rows of its sequence
  const int32_t* chosen;   // or null: all that are visible
  int position, start;     // of the token, and of its sequence in this run
  int first, window_rows;  // position of the first window row, and how many there are
  int rows;                // with the compressed ones

  V4I_DEVICE const uint8_t* row(const SparseAttentionArgs& a, int i) const {
    if (i < window_rows) {
      const int at = first + i;
      if (at < start) return ring + static_cast<int64_t>(at % a.window_slots) * a.row_bytes;
      return staged - static_cast<int64_t>(position - at) * a.row_bytes;
    }
    const int r = chosen != nullptr ? chosen[i - window_rows] : i - window_rows;
    const int block_row = r % a.main.rows_per_block;
    return block[r / a.main.rows_per_block] + static_cast<int64_t>(block_row) * a.main.row_bytes;
  }
};

V4I_DEVICE Candidates candidates_of(const SparseAttentionArgs& a, int t) {
  const Token& token = a.tokens[t];
  Candidates c;
  c.position = static_cast<int>(token.position);
  c.start = static_cast<int>(token.start);
  c.ring = a.sequences[token.sequence].fixed + a.window_offset;
  c.staged = a.rows + static_cast<int64_t>(token.row) * a.row_bytes;
  c.first = c.position < a.window ? 0 : c.position - a.window + 1;
  c.window_rows = c.position - c.first + 1;
  c.rows = c.window_rows;
  c.block = nullptr;
  c.chosen = nullptr;
  if (a.ratio == 0) return c;
  const int visible = (c.position + 1) / a.ratio;
  const bool choose = a.selected != nullptr && visible > a.topk;
  c.block = a.main.block + a.main.first[token.sequence];
  if (choose) c.chosen = a.selected + static_cast<int64_t>(t) * a.topk;
  c.rows += choose ? a.topk : visible;
  return c;
}

// The same for every launch that a token is in: 64 rows a chunk, or as many as keep a token within
// kAttentionChunks of them.
struct Chunks {
  int rows;   // of a chunk, whole tiles
  int count;  // of the token
};

V4I_DEVICE Chunks chunks_of(int rows) {
  constexpr int kMost = kAttentionChunks * kAttentionChunkRows;
  const int size = (rows + kMost - 1) / kMost * kAttentionChunkRows;
  return {size, (rows + size - 1) / size};
}

// A softmax over some of a head's candidates: its values are exp(logit - top) / total.
struct alignas(8) Softmax {
  float top = -INFINITY, total = 0;
};

// What the sums of two parts are multiplied with when they become one.
struct Factors {
  float whole, part;
};

V4I_DEVICE Factors merge(Softmax& whole, Softmax part) {
  const float top = fmaxf(whole.top, part.top);
  const Factors by{expf(whole.top - top), expf(part.top - top)};
  whole.total = fmaf(part.total, by.part, __fmul_rn(whole.total, by.whole));
  whole.top = top;
  return by;
}

V4I_DEVICE float merge(float whole, float part, Factors by) {
  return fmaf(part, by.part, __fmul_rn(whole, by.whole));
}

// With the sink, which has no value.
V4I_DEVICE float total_of(Softmax s, float sink) { return s.total + expf(sink - s.top); }

// Channels [c, c + 4) of a head of token t: divided by the softmax's total, turned back, stored.
// Channels come in units of 4 that are rotary or not.
V4I_DEVICE void finish(const SparseAttentionArgs& a, int t, int head, int c, float (&x)[4],
                       float total) {
  for (float& v : x) v = round_bf16(v / total);
  const int half = a.rope / 2, pair = (c - (a.dim - a.rope)) / 2;
  if (c >= a.dim - a.rope) {
    const float* turn = a.cos_sin + static_cast<int64_t>(t) * a.rope + pair;
    turn_pair(x, {turn[0], -turn[half]}, true);
    turn_pair(x + 2, {turn[1], -turn[half + 1]}, true);
  }
  float* out = a.out + (static_cast<int64_t>(t) * a.heads + head) * a.dim + c;
  *reinterpret_cast<float4*>(out) = make_float4(x[0], x[1], x[2], x[3]);
}

// Where a launch that is split keeps the sums [dim] and the softmax of a token's chunk and head.
struct Partial {
  float* sums;
  Softmax* softmax;
};

V4I_DEVICE Partial partial_of(const SparseAttentionArgs& a, int t, int chunk, int head) {
  const int chunks = attention_max_chunks(a.max_rows);
  const int64_t i = (static_cast<int64_t>(t) * chunks + chunk) * a.heads + head;
  const int64_t all = static_cast<int64_t>(a.n) * chunks * a.heads;
  return {a.partial + i * a.dim, reinterpret_cast<Softmax*>(a.partial + all * a.dim) + i};
}

}  // namespace v4i::kernels::cuda
