// (token, choice) pairs sorted by expert, by one block: a counting sort that keeps the tokens in
// order.  The pairs are cut into parts, one warp each; every part counts for itself, so that its
// pairs know where they go without a look at the others.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/router.h"

namespace v4i::kernels::cuda {

struct Grouping {
  int pairs, parts, steps;  // steps of 32 pairs, of a part
  int* count;               // [parts][experts]: pairs, then where the next one goes
  int* total;               // [64]: pairs of each warp's experts; experts that have some

  V4I_DEVICE Grouping(const RouteArgs& a, unsigned char* shared) {
    const int warps = static_cast<int>(blockDim.x) / 32, fit = 12288 / a.experts;  // group_parts()
    const int room = fit < 1 ? 1 : fit < warps ? fit : warps;
    pairs = a.n * a.choices;
    const int all = (pairs + 31) / 32;
    parts = all < room ? all : room;
    steps = (all + parts - 1) / parts;
    total = reinterpret_cast<int*>(shared);
    count = total + 64;
  }
};

// The expert of a pair; -1: beyond the last, or the CPU computes it.
V4I_DEVICE int expert_of(const RouteArgs& a, int pair, int pairs) {
  if (pair >= pairs) return -1;
  const int e = a.expert[pair];
  const std::uint8_t* elsewhere = a.groups.elsewhere;
  return elsewhere != nullptr && elsewhere[e] != 0 ? -1 : e;
}

// Lanes with the same expert; of no use where it is -1.
V4I_DEVICE uint32_t lanes_alike(int expert, int experts) {
  uint32_t lanes = ballot(expert >= 0);
  for (int bit = 0; (experts - 1) >> bit != 0; ++bit) {
    const bool set = (expert >> bit & 1) != 0;
    const uint32_t with = ballot(set);
    lanes &= set ? with : ~with;
  }
  return lanes;
}

V4I_DEVICE uint32_t lower_lanes() { return (1u << lane()) - 1; }

V4I_DEVICE void count_pairs(const RouteArgs& a, const Grouping& g) {
  int* count = g.count + warp() * a.experts;
  for (int step = 0; step < g.steps; ++step) {
    const int e = expert_of(a, (warp() * g.steps + step) * 32 + lane(), g.pairs);
    const uint32_t alike = lanes_alike(e, a.experts);
    if (e >= 0 && (alike & lower_lanes()) == 0) count[e] += __popc(alike);
    warp_barrier();
  }
}

// Place of a pair among its token's, by expert.
V4I_DEVICE int rank_of(const RouteArgs& a, int pair) {
  const int choice = pair % a.choices, e = a.expert[pair];
  const int32_t* all = a.expert + (pair - choice);
  int rank = 0;
  for (int i = 0; i < a.choices; ++i) rank += all[i] < e || (all[i] == e && i < choice) ? 1 : 0;
  return rank;
}

V4I_DEVICE void place_pairs(const RouteArgs& a, const Grouping& g) {
  int* next = g.count + warp() * a.experts;
  for (int step = 0; step < g.steps; ++step) {
    const int pair = (warp() * g.steps + step) * 32 + lane();
    const int e = expert_of(a, pair, g.pairs);
    const uint32_t alike = lanes_alike(e, a.experts);
    const int slot = e >= 0 ? next[e] + __popc(alike & lower_lanes()) : -1;
    warp_barrier();
    if (e >= 0 && (alike & lower_lanes()) == 0) next[e] += __popc(alike);
    warp_barrier();
    if (pair >= g.pairs) continue;
    const int token = pair / a.choices;
    a.groups.token_slot[token * a.choices + rank_of(a, pair)] = slot;
    if (slot < 0) continue;
    a.groups.slot_token[slot] = token;
    a.groups.slot_weight[slot] = a.weight[pair];
  }
}

// Sum over this lane and those below.
V4I_DEVICE int sum_up_to_lane(int v) {
#pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    const int below = shuffle(v, lane() < by ? lane() : lane() - by);
    if (lane() >= by) v += below;
  }
  return v;
}

// Counts of the parts become the slots where their pairs go; writes begin and active.  A thread
// takes one expert of every blockDim.x.
V4I_DEVICE void number_slots(const RouteArgs& a, const Grouping& g) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  int slots = 0, active = 0;  // of the experts before
  for (int first = 0; first < a.experts; first += static_cast<int>(blockDim.x)) {
    const int e = first + static_cast<int>(threadIdx.x);
    int own = 0;
    if (e < a.experts)
      for (int p = 0; p < g.parts; ++p) own += g.count[p * a.experts + e];
    const int up_to = sum_up_to_lane(own);
    const uint32_t with = ballot(own > 0);
    if (lane() == 31) {
      g.total[warp()] = up_to;
      g.total[32 + warp()] = __popc(with);
    }
    __syncthreads();
    int begin = slots + up_to - own, place = active + __popc(with & lower_lanes());
    for (int w = 0; w < warps; ++w) {
      const int of_warp = g.total[w], active_of_warp = g.total[32 + w];
      slots += of_warp;
      active += active_of_warp;
      if (w < warp()) begin += of_warp;
      if (w < warp()) place += active_of_warp;
    }
    __syncthreads();
    if (e >= a.experts) continue;
    a.groups.begin[e] = begin;
    if (own > 0) a.groups.active[place] = e;
    for (int p = 0; p < g.parts; ++p) {
      const int n = g.count[p * a.experts + e];
      g.count[p * a.experts + e] = begin;
      begin += n;
    }
  }
  if (threadIdx.x != 0) return;
  a.groups.begin[a.experts] = slots;
  *a.groups.active_count = active;
}

// All threads of the block; a.expert and a.weight are there.
V4I_DEVICE void group_tokens(const RouteArgs& a) {
  const Grouping g(a, shared_memory());
  for (int i = static_cast<int>(threadIdx.x); i < g.parts * a.experts;
       i += static_cast<int>(blockDim.x))
    g.count[i] = 0;
  __syncthreads();
  if (warp() < g.parts) count_pairs(a, g);
  __syncthreads();
  number_slots(a, g);
  __syncthreads();
  if (warp() < g.parts) place_pairs(a, g);
}

}  // namespace v4i::kernels::cuda
