// The best-scored rows of each token: its topk highest scores, ties to the lower row, -0 equal to
// +0.  What is selected is unique, so it does not depend on how the work is cut.
//
// Rows are taken in chunks; v4i_top_rows finds the best of each chunk of each token, and
// v4i_top_rows_merge the best of those, for tokens that see more than one chunk.
#pragma once

#include "kernels/cuda/indexer.h"

namespace v4i::kernels::cuda {

constexpr int kSelectThreads = 1024;
constexpr int kSelectChunk = 16 * kSelectThreads;  // rows
constexpr std::size_t kSelectSharedBytes = 8464;

// Candidates of a token that sees `rows` rows; 0: one chunk, there is nothing to merge.
V4I_EVERYWHERE constexpr std::int64_t top_rows_candidates(std::int64_t rows, std::int64_t topk) {
  if (rows <= kSelectChunk) return 0;
  const std::int64_t rest = rows % kSelectChunk, most = topk < kSelectChunk ? topk : kSelectChunk;
  return rows / kSelectChunk * most + (rest < most ? rest : most);
}

struct TopRowsArgs {
  IndexShape shape;
  std::int32_t tokens = 0;
  const Token* token = nullptr;   // [tokens]
  const float* score = nullptr;   // [tokens, score_stride]
  std::int64_t score_stride = 0;  // floats
  // [tokens, candidate_stride]: scores and rows of the best of each chunk.  candidate_stride is
  // at least top_rows_candidates(max_rows, topk).
  float* candidate_score = nullptr;
  std::int32_t* candidate_row = nullptr;
  std::int64_t candidate_stride = 0;
  // [tokens, topk], rising; written for tokens that see more than topk rows.
  std::int32_t* selected = nullptr;
};

// `max_rows` as for launch_index_scores.  Both, in this order.
inline Launch launch_top_rows(const TopRowsArgs& a, std::int64_t max_rows) {
  if (a.tokens <= 0 || max_rows <= a.shape.topk) return {};
  return {"v4i_top_rows",
          static_cast<std::uint32_t>(a.tokens),
          static_cast<std::uint32_t>(divide_up<std::int64_t>(max_rows, kSelectChunk)),
          1,
          kSelectThreads,
          kSelectSharedBytes};
}
inline Launch launch_top_rows_merge(const TopRowsArgs& a, std::int64_t max_rows) {
  if (a.tokens <= 0 || max_rows <= a.shape.topk || max_rows <= kSelectChunk) return {};
  return {"v4i_top_rows_merge", static_cast<std::uint32_t>(a.tokens), 1, 1, kSelectThreads,
          kSelectSharedBytes};
}

}  // namespace v4i::kernels::cuda
