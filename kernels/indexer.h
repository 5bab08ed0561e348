// Scores of query tokens against the stored index keys of a CSA layer.  Spec 2.6.
#pragma once

#include <cstdint>

namespace v4i::kernels {

// Indexer scores of `queries` query tokens against `count` stored keys.  Spec 2.6:
//   score[t, j] = sum_h relu(q_th . k_j) w_th
// With round_bf16: dot -> bf16, relu, product -> bf16, sum -> bf16; q is as fp4_sim(32)
// leaves it and w holds bf16 values.
struct IndexArgs {
  int dim, heads;
  bool packed;                       // key: dim / 2 e2m1 pairs | ue8m0 per 32; else float32
  const std::uint8_t* const* block;  // block[i]: keys i * block_keys and following
  std::int64_t block_keys, count, key_bytes;
  int queries;
  const float* q;  // [queries, heads, dim]
  const float* w;  // [queries, heads]
  float* score;    // [queries, score_stride]
  std::int64_t score_stride;
  bool round_bf16;
  float* scratch;  // index_scratch_floats(dim, heads, queries)
};
constexpr std::int64_t kIndexTile = 64;  // keys decoded together
constexpr std::int64_t index_scratch_floats(std::int64_t dim, std::int64_t heads,
                                            std::int64_t queries) {
  const std::int64_t padded = (heads + 3) / 4 * 4;
  return queries * padded * (dim / 2 + dim / 16 + 4) + kIndexTile * dim / 2 + 32;
}

}  // namespace v4i::kernels
