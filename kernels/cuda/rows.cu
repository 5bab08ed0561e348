// KV rows and heads on their way into attention; see rows.h.
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/rows.h"

namespace v4i::kernels::cuda {

V4I_KERNEL(v4i_rope_table, RopeTableArgs, 128, 1) {
  const int half = a.rope / 2;
  const int i = static_cast<int>(blockIdx.x * 128 + threadIdx.x);
  const float* freq = a.freq[blockIdx.y];
  if (i >= a.n * half || freq == nullptr) return;
  const int t = i / half, pair = i % half;
  const Turn turn = turn_at(a.tokens[t].position, freq[pair]);
  float* out = a.table[blockIdx.y] + static_cast<int64_t>(t) * a.rope;
  out[pair] = turn.cosine;
  out[half + pair] = turn.sine;
}

// A warp: one row, in shared memory as float32.
V4I_KERNEL(v4i_make_rows, MakeRowsArgs, kMakeRowsWarps * 32, 1) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * kMakeRowsWarps + warp();
  if (t >= a.n) return;
  const bool native = a.native != 0;
  float* x = reinterpret_cast<float*>(shared_memory()) + warp() * a.dim;
#pragma unroll 16
  for (int c = lane(); c < a.dim; c += 32) x[c] = a.kv[t * a.dim + c];
  warp_barrier();
  const float scale = rms_scale(x, a.dim, a.eps);
  warp_barrier();
#pragma unroll 16
  for (int c = lane(); c < a.dim; c += 32)
    x[c] = rounded(__fmul_rn(a.gain[c], __fmul_rn(x[c], scale)), native);
  warp_barrier();
  const Warps alone{0, 1};
  turn_tail(x, a.dim, a.rope, a.cos_sin + t * a.rope, native, alone);
  warp_barrier();
  uint8_t* row = a.rows + t * a.row_bytes;
  if (native)
    pack_row(x, a.dim, a.rope, row, a.row_bytes, alone);
  else
    copy_row(x, a.dim, reinterpret_cast<float*>(row), alone);
}

// What a head is multiplied with, by 16 lanes, each of which sums every 16th channel; the order of
// sums and the roundings are those of normalise() in kernels/cpu/scalar_rows.cc.
V4I_DEVICE float head_scale(const float* x, int dim, float eps, bool native) {
  float sum = 0;
#pragma unroll 16  // loads that wait together
  for (int c = lane() % 16; c < dim; c += 16)
    sum = __fadd_rn(sum, rounded(__fmul_rn(x[c], x[c]), native));
  for (int half = 8; half > 0; half /= 2) sum = __fadd_rn(sum, shuffle_xor(sum, half));
  const float mean = rounded(sum / static_cast<float>(dim), native);
  return rounded(1.0f / sqrtf(rounded(mean + eps, native)), native);
}

// 16 lanes: one head.
V4I_KERNEL(v4i_query_heads, QueryHeadsArgs, kQueryHeads * 16, 1) {
  const int64_t last = static_cast<int64_t>(a.n) * a.heads - 1;
  const int64_t head = static_cast<int64_t>(blockIdx.x) * kQueryHeads + threadIdx.x / 16;
  if (head - lane() / 16 > last) return;  // the warp has no head
  const bool native = a.native != 0;
  float* x = a.x + (head < last ? head : last) * a.dim;
  const float scale = head_scale(x, a.dim, a.eps, native);
  warp_barrier();  // all lanes have read the head
  if (head > last) return;
  const int plain = a.dim - a.rope, half = a.rope / 2, first = lane() % 16;
#pragma unroll 16
  for (int c = first; c < plain; c += 16) x[c] = rounded(__fmul_rn(x[c], scale), native);
  const float* cos_sin = a.cos_sin + head / a.heads * a.rope;
  for (int i = first; i < half; i += 16) {
    float* pair = x + plain + 2 * i;
    pair[0] = rounded(__fmul_rn(pair[0], scale), native);
    pair[1] = rounded(__fmul_rn(pair[1], scale), native);
    turn_pair(pair, {cos_sin[i], cos_sin[half + i]}, native);
  }
}

template <class Word>
V4I_DEVICE void copy_words(uint8_t* to, const uint8_t* from, int64_t bytes) {
  const int count = static_cast<int>(bytes / static_cast<int64_t>(sizeof(Word)));
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    reinterpret_cast<Word*>(to)[i] = reinterpret_cast<const Word*>(from)[i];
}

// By all threads of the block; both ends are as aligned as `bytes` is, up to 16.
V4I_DEVICE void copy_bytes(uint8_t* to, const uint8_t* from, int64_t bytes) {
  if (bytes % 16 == 0)
    copy_words<uint4>(to, from, bytes);
  else if (bytes % 8 == 0)
    copy_words<uint2>(to, from, bytes);
  else
    copy_words<uint32_t>(to, from, bytes);
}

// A block: one token.
V4I_KERNEL(v4i_keep_rows, KeepRowsArgs, 128, 1) {
  const int64_t t = blockIdx.x;
  const Token& token = a.tokens[t];
  const Sequence& sequence = a.sequences[token.sequence];
  const int64_t newer = sequence.count - 1 - (token.position - token.start);  // tokens behind it
  if (newer < a.window_slots)
    copy_bytes(sequence.written + a.window_offset + token.position % a.window_slots * a.row_bytes,
               a.rows + t * a.row_bytes, a.row_bytes);
  if (a.partial == nullptr || newer >= a.partial_slots) return;
  const int64_t bytes = static_cast<int64_t>(a.partial_floats) * 4;
  copy_bytes(sequence.written + a.partial_offset + token.position % a.partial_slots * bytes,
             reinterpret_cast<const uint8_t*>(a.partial + t * a.partial_floats), bytes);
}

}  // namespace v4i::kernels::cuda
