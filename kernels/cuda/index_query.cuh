// How v4i_index_heads leaves a token's query for v4i_index_scores: bf16, in the order in which the
// tensor cores take it, so that a warp reads 512 bytes in a row.
//
// In a multiplication of 16 keys by 8 heads over 16 channels, lane 4g + t has the channels of key g
// and of head g that belong to column t.  Lane column t takes the 32 channels of a key that share
// one scale, 4 of them at a time: step s of 8 takes channels 32t + 4s to 32t + 4s + 3.
//
//   16 bytes at ((head / 8 * 4 + s / 2) * 32 + head % 8 * 4 + t) * 16:
//   channels 32t + 8(s / 2) ... + 7 of a head, for steps s and s + 1
//
// Heads are padded to a multiple of 16 with zeros; the weights follow as bf16.
#pragma once

#include "kernels/cuda/indexer.h"
#include "kernels/cuda/ptx.cuh"

namespace v4i::kernels::cuda {

constexpr int kIndexDim = 128;  // of index_uses_mma()

// Of channels 8 * eight and following of a head, in bytes.
V4I_DEVICE int query_place(int head, int eight) {
  return ((head / 8 * 4 + eight % 4) * 32 + head % 8 * 4 + eight / 4) * 16;
}

V4I_DEVICE int query_weights_place(const IndexShape& s) { return padded_heads(s) * kIndexDim * 2; }

V4I_DEVICE int visible_rows(const IndexShape& s, const Token& token) {
  return static_cast<int>(static_cast<uint32_t>(token.position + 1) /
                          static_cast<uint32_t>(s.ratio));
}

}  // namespace v4i::kernels::cuda
