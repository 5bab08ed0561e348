// Scores in float32: for keys that are stored as float32, and for packed keys of other shapes than
// index_uses_mma() names.
#include "kernels/cuda/index_query.cuh"
#include "kernels/cuda/indexer.h"
#include "kernels/cuda/row.cuh"

namespace v4i::kernels::cuda {

namespace {

constexpr int kWarps = 8;
constexpr int kHeads = 4;  // of a warp at a time

V4I_DEVICE float key_value(const IndexShape& s, const uint8_t* key, int c) {
  if (s.native == 0) return reinterpret_cast<const float*>(key)[c];
  return fp4_value(key[c / 2] >> (c % 2 * 4) & 15u) * ue8m0_value(key[s.dim / 2 + c / 32]);
}

// Keys row ... into shared memory, dim + 1 floats apart.  A warp: one key at a time.
V4I_DEVICE void load_keys(const IndexScoresArgs& a, int sequence, int row, int count, float* keys) {
  const BlockTable& table = a.keys;
  for (int k = warp(); k < count; k += kWarps) {
    const int r = row + k;
    const uint8_t* key = table.block[table.first[sequence] + r / table.rows_per_block] +
                         r % table.rows_per_block * table.row_bytes;
    for (int c = lane(); c < a.shape.dim; c += 32)
      keys[k * (a.shape.dim + 1) + c] = key_value(a.shape, key, c);
  }
}

V4I_DEVICE float head_score(const IndexShape& s, float dot, float weight) {
  const bool native = s.native != 0;
  return rounded(__fmul_rn(fmaxf(rounded(dot, native), 0.0f), weight), native);
}

// What heads `head` ... of one token give to one key; dots in rising order of channels.
V4I_DEVICE float heads_score(const IndexShape& s, const float* key, const float* query, int head) {
  const int count = min(kHeads, s.heads - head);
  const float* q = query + head * s.dim;
  float dot[kHeads] = {};
  for (int c = 0; c < s.dim; ++c) {
    const float k = key[c];
#pragma unroll
    for (int h = 0; h < kHeads; ++h)
      if (h < count) dot[h] = fmaf(q[h * s.dim + c], k, dot[h]);
  }
  float sum = 0;
  for (int h = 0; h < kHeads; ++h)
    if (h < count) sum = __fadd_rn(sum, head_score(s, dot[h], query[s.heads * s.dim + head + h]));
  return sum;
}

}  // namespace

// Blocks: token, tile of 32 keys.  A lane: one key; the warps share the heads.  Shared memory: the
// keys, then the sums of the warps.
V4I_KERNEL(v4i_index_scores_float, IndexScoresArgs, kWarps * 32, 1) {
  const IndexShape& s = a.shape;
  const Token& token = a.token[blockIdx.x];
  const int rows = visible_rows(s, token), row = static_cast<int>(blockIdx.y) * kFloatIndexTile;
  if (rows <= s.topk || row >= rows) return;
  const int count = min(rows - row, kFloatIndexTile);
  float* keys = reinterpret_cast<float*>(shared_memory());
  float* sums = keys + kFloatIndexTile * (s.dim + 1);  // [key][9]
  load_keys(a, token.sequence, row, count, keys);
  __syncthreads();
  const auto* query =
      reinterpret_cast<const float*>(a.query + int64_t{blockIdx.x} * index_query_bytes(s));
  float sum = 0;
  if (lane() < count)
    for (int h = warp() * kHeads; h < s.heads; h += kWarps * kHeads)
      sum = __fadd_rn(sum, heads_score(s, keys + lane() * (s.dim + 1), query, h));
  sums[lane() * (kWarps + 1) + warp()] = sum;
  __syncthreads();
  if (warp() != 0 || lane() >= count) return;
  float score = 0;
  for (int w = 0; w < kWarps; ++w) score = __fadd_rn(score, sums[lane() * (kWarps + 1) + w]);
  a.score[int64_t{blockIdx.x} * a.score_stride + row + lane()] = rounded(score, s.native != 0);
}

}  // namespace v4i::kernels::cuda
