// Scores of a query token against the stored index keys of a CSA layer.  Spec 2.6.
#pragma once

#include <cstdint>

namespace v4i::kernels {

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

}  // namespace v4i::kernels
