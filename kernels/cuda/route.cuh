// The experts of a few tokens, by one block.
//
// A block's warp-sized groups of experts find their best first: an expert's rank in its group is
// how many of the group are better.  Those that can be among the chosen are ranked once more in the
// same way.  Keys are integers, so even scores that are no numbers give each expert a rank of its
// own.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/router.h"
#include "kernels/formats.h"

namespace v4i::kernels::cuda {

V4I_DEVICE float sqrt_softplus(float x) { return sqrtf(x > 20.0f ? x : log1pf(expf(x))); }

// Rises with x; -0 as 0.
V4I_DEVICE uint32_t rising_key(float x) {
  const uint32_t u = to_bits(x + 0.0f);
  return u >> 31 != 0 ? ~u : u | 0x80000000u;
}

// Of `tokens` tokens in shared memory, as route_shared_bytes() counts.
struct Routing {
  int experts, padded, choices, tokens;
  int of_group, candidates;  // that can be chosen: of a group of 32 experts, of a token
  uint64_t* candidate;       // [tokens][padded]: key, then the complement of the expert
  float* score;              // [tokens][padded]
  uint32_t* key;             // [tokens][padded]; 0, less than any key, beyond the experts
  int* chosen;               // [tokens][choices], best first
  float* chosen_score;

  V4I_DEVICE Routing(const RouteArgs& a, int n, unsigned char* shared)
      : experts(a.experts), padded((a.experts + 31) / 32 * 32), choices(a.choices), tokens(n) {
    const int last = experts - (padded - 32);  // experts of the last group
    of_group = choices < 32 ? choices : 32;
    candidates = (padded / 32 - 1) * of_group + (last < of_group ? last : of_group);
    candidate = reinterpret_cast<uint64_t*>(shared);
    score = reinterpret_cast<float*>(candidate + tokens * padded);
    key = reinterpret_cast<uint32_t*>(score + tokens * padded);
    chosen = reinterpret_cast<int*>(key + tokens * padded);
    chosen_score = reinterpret_cast<float*>(chosen + tokens * choices);
  }
};

V4I_DEVICE void score_experts(const RouteArgs& a, int first, const Routing& r) {
  for (int i = static_cast<int>(threadIdx.x); i < r.tokens * r.padded;
       i += static_cast<int>(blockDim.x)) {
    const int t = i / r.padded, e = i % r.padded;
    float score = 0;
    uint32_t key = 0;
    if (e < r.experts) {
      const float* bias = a.bias[a.tokens[first + t].role != 0];
      score = sqrt_softplus(a.scores[int64_t{first + t} * r.experts + e]);
      key = rising_key(score + bias[e]);
    }
    r.score[i] = score;
    r.key[i] = key;
  }
}

// The best of each group of 32 become candidates.
V4I_DEVICE void find_candidates(const Routing& r) {
  for (int i = static_cast<int>(threadIdx.x); i < r.tokens * r.padded;
       i += static_cast<int>(blockDim.x)) {
    const int t = i / r.padded, e = i % r.padded, in_group = i % 32;
    const uint32_t key = r.key[i];
    const uint4* keys = reinterpret_cast<const uint4*>(r.key + i - in_group);
    int rank = 0;
    const auto count = [&](uint32_t other, int place) {
      rank += other > key || (other == key && place < in_group) ? 1 : 0;
    };
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const uint4 four = keys[j];
      count(four.x, 4 * j);
      count(four.y, 4 * j + 1);
      count(four.z, 4 * j + 2);
      count(four.w, 4 * j + 3);
    }
    if (e < r.experts && rank < r.of_group)
      r.candidate[t * r.padded + e / 32 * r.of_group + rank] =
          uint64_t{key} << 32 | (0xffffffffu - static_cast<uint32_t>(e));
  }
}

V4I_DEVICE void choose(const Routing& r) {
  for (int i = static_cast<int>(threadIdx.x); i < r.tokens * r.candidates;
       i += static_cast<int>(blockDim.x)) {
    const int t = i / r.candidates, c = i % r.candidates;
    const uint64_t* all = r.candidate + t * r.padded;
    const uint64_t own = all[c];
    int rank = 0;
#pragma unroll 4
    for (int j = 0; j < r.candidates; ++j) rank += all[j] > own ? 1 : 0;
    if (rank >= r.choices) continue;
    const int e = static_cast<int>(0xffffffffu - static_cast<uint32_t>(own));
    r.chosen[t * r.choices + rank] = e;
    r.chosen_score[t * r.choices + rank] = r.score[t * r.padded + e];
  }
}

V4I_DEVICE void look_up(const RouteArgs& a, int first, const Routing& r) {
  for (int i = static_cast<int>(threadIdx.x); i < r.tokens * r.choices;
       i += static_cast<int>(blockDim.x)) {
    const int t = i / r.choices;
    const int64_t id = a.tokens[first + t].id;
    const int e = a.by_id[id * r.choices + i % r.choices];
    r.chosen[i] = e;
    r.chosen_score[i] = sqrt_softplus(a.scores[int64_t{first + t} * r.experts + e]);
  }
}

V4I_DEVICE void write_choice(const RouteArgs& a, int first, const Routing& r) {
  for (int i = static_cast<int>(threadIdx.x); i < r.tokens * r.choices;
       i += static_cast<int>(blockDim.x)) {
    const float* score = r.chosen_score + i / r.choices * r.choices;
    float total = 0;
    for (int k = 0; k < r.choices; ++k) total += score[k];
    const int64_t at = int64_t{first} * r.choices + i;
    a.expert[at] = r.chosen[i];
    a.weight[at] = score[i % r.choices] / total * a.scale;
  }
}

// Tokens [first, first + n); all threads of the block.
V4I_DEVICE void route_tokens(const RouteArgs& a, int first, int n) {
  const Routing r(a, n, shared_memory());
  if (a.by_id != nullptr) {
    look_up(a, first, r);
  } else {
    score_experts(a, first, r);
    __syncthreads();
    find_candidates(r);
    __syncthreads();
    choose(r);
  }
  __syncthreads();
  write_choice(a, first, r);
}

}  // namespace v4i::kernels::cuda
