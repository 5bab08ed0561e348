// Which experts a token goes to, tokens grouped by expert, and what the experts found added up.
// Spec 2.8; lib/forward/cpu/router.cc.
#pragma once

#include <cstdint>

#include "kernels/cuda/found.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/row_launch.h"
#include "kernels/cuda/types.h"

namespace v4i::kernels::cuda {

// Slots are (token, choice) pairs in order of expert; within an expert tokens stay in order.
struct Groups {
  const std::uint8_t* elsewhere = nullptr;  // [experts]: 1: no slots, the CPU computes it; or null
  std::int32_t* begin = nullptr;         // [experts + 1]: slots of expert e: begin[e] to begin[e+1]
  std::int32_t* active = nullptr;        // [experts]: those that have slots, rising
  std::int32_t* active_count = nullptr;  // [1]
  std::int32_t* slot_token = nullptr;    // [n * choices]
  float* slot_weight = nullptr;          // [n * choices]
  std::int32_t* token_slot = nullptr;    // [n, choices] in rising order of expert; -1: elsewhere
};

// The `choices` best of sqrt_softplus(score) + bias, ties to the lower expert, best first; or, with
// by_id, those of the token's id.  weight = score / (sum of the chosen scores) * scale.
struct RouteArgs {
  const float* scores = nullptr;        // [n, experts], of the gate
  const float* bias[2] = {};            // by Token.role, [experts]; unused with by_id
  const std::int32_t* by_id = nullptr;  // [vocab, choices], or null
  const Token* tokens = nullptr;        // [n]
  std::int32_t* expert = nullptr;       // [n, choices]
  float* weight = nullptr;              // [n, choices]
  Groups groups{};
  std::int32_t n = 0, experts = 0, choices = 0;
  float scale = 0;
};

// Few tokens are routed and grouped by one block, in one launch.
constexpr bool routes_and_groups(const RouteArgs& a) { return a.n <= 8 && a.n * a.experts <= 4096; }

constexpr int kRouteMostThreads = 1024;

// Of the histograms of v4i_group: one for each part of the tokens, in shared memory.
constexpr std::int32_t group_parts(std::int32_t experts, std::int32_t threads) {
  const std::int32_t fit = 12288 / experts, warps = threads / 32;
  return fit < 1 ? 1 : fit < warps ? fit : warps;
}
constexpr std::size_t group_shared_bytes(std::int32_t experts, std::int32_t threads) {
  return sizeof(std::int32_t) *
         static_cast<std::size_t>(group_parts(experts, threads) * experts + 64);
}

// Of one token in v4i_route: scores, keys, candidates of 8 bytes; the chosen and their scores.
constexpr std::size_t route_shared_bytes(std::int32_t experts, std::int32_t choices) {
  const std::int32_t padded = divide_up(experts, 32) * 32;
  return static_cast<std::size_t>(16 * padded + 8 * divide_up(choices, 2) * 2);
}

inline Launch launch_route(const RouteArgs& a) {
  if (a.n == 0) return {};
  const bool few = routes_and_groups(a);
  const std::int32_t tokens = few ? a.n : 1;  // of a block
  const std::int32_t wanted = divide_up(tokens * a.experts, 32) * 32;
  Launch l;
  l.kernel = few ? "v4i_route_few" : "v4i_route";
  l.x = few ? 1 : static_cast<std::uint32_t>(a.n);
  l.threads = static_cast<std::uint32_t>(wanted < kRouteMostThreads ? wanted : kRouteMostThreads);
  l.shared = static_cast<std::size_t>(tokens) * route_shared_bytes(a.experts, a.choices);
  const std::size_t grouping = group_shared_bytes(a.experts, static_cast<std::int32_t>(l.threads));
  if (few && grouping > l.shared) l.shared = grouping;
  return l;
}

// Nothing to do where launch_route() grouped already; to be launched behind it, with its args.
inline Launch launch_group(const RouteArgs& a) {
  if (a.n == 0 || routes_and_groups(a)) return {};
  Launch l;
  l.kernel = "v4i_group";
  l.threads = kRouteMostThreads;
  l.shared = group_shared_bytes(a.experts, kRouteMostThreads);
  return l;
}

// out[t] = what `found` adds up to, see found.h
struct CombineArgs {
  Found found{};
  float* out = nullptr;  // [n, width]
  std::int32_t n = 0, width = 0;
  std::int32_t native = 0;
};

inline Launch launch_combine(const CombineArgs& a) {
  if (a.n == 0) return {};
  return rows_launch("v4i_combine", a.n, a.width);
}

}  // namespace v4i::kernels::cuda
