// The indexer's queries; see indexer.h and, for their form, index_query.cuh.
#include "kernels/cuda/index_query.cuh"
#include "kernels/cuda/indexer.h"
#include "kernels/cuda/row.cuh"

namespace v4i::kernels::cuda {

namespace {

// A head that is ready, by one warp.
V4I_DEVICE void store_head(const IndexShape& s, const float* x, int head, uint8_t* query) {
  if (!index_uses_mma(s)) {
    copy_row(x, s.dim, reinterpret_cast<float*>(query) + head * s.dim, {0, 1});
    return;
  }
  if (lane() >= kIndexDim / 8) return;
  const float* v = x + 8 * lane();
  *reinterpret_cast<uint4*>(query + query_place(head, lane())) = make_uint4(
      pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
}

// Rotary positions and, when native, what stored keys went through.
V4I_DEVICE void finish_head(const IndexHeadsArgs& a, float* x) {
  const IndexShape& s = a.shape;
  const float* cos_sin = a.cos_sin + int64_t{blockIdx.x} * s.rope;
  turn_tail(x, s.dim, s.rope, cos_sin, s.native != 0, {0, 1});
  warp_barrier();
  if (s.native == 0) return;
  hadamard(x, s.dim);
  for (int c = lane(); c < s.dim; c += 32) x[c] = round_bf16(x[c]);
  quantise_fp4(x, s.dim);
}

V4I_DEVICE void store_weights(const IndexHeadsArgs& a, uint8_t* query) {
  const IndexShape& s = a.shape;
  const float* weight = a.weight + int64_t{blockIdx.x} * s.heads;
  const bool mma = index_uses_mma(s);
  const int count = mma ? padded_heads(s) : s.heads;
  for (int h = static_cast<int>(threadIdx.x); h < count; h += static_cast<int>(blockDim.x)) {
    const float w = h < s.heads ? rounded(weight[h] * a.weight_scale, s.native != 0) : 0.0f;
    if (mma)
      reinterpret_cast<uint16_t*>(query + query_weights_place(s))[h] = encode_bf16(w);
    else
      reinterpret_cast<float*>(query)[s.heads * s.dim + h] = w;
  }
}

}  // namespace

// Blocks: token, 8 heads.  A warp: one head, in shared memory as float32.
V4I_KERNEL(v4i_index_heads, IndexHeadsArgs, kIndexHeadsAtOnce * 32, 1) {
  const IndexShape& s = a.shape;
  if (visible_rows(s, a.token[blockIdx.x]) <= s.topk) return;
  uint8_t* query = a.query + int64_t{blockIdx.x} * index_query_bytes(s);
  if (blockIdx.y == 0) store_weights(a, query);
  const int head = static_cast<int>(blockIdx.y) * kIndexHeadsAtOnce + warp();
  if (head >= s.heads && !index_uses_mma(s)) return;
  float* x = reinterpret_cast<float*>(shared_memory()) + warp() * s.dim;
  const float* q = a.q + (int64_t{blockIdx.x} * s.heads + head) * s.dim;
  for (int c = lane(); c < s.dim; c += 32) x[c] = head < s.heads ? q[c] : 0.0f;
  warp_barrier();
  if (head < s.heads) finish_head(a, x);
  store_head(s, x, head, query);
}

}  // namespace v4i::kernels::cuda
