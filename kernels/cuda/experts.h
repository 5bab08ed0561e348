// The experts of a layer: products of grouped tokens, and what lies between them.  Spec 2.9.
//
//   gate[s] = w1 x[token(s)], up[s] = w3 x[token(s)] launch_experts(experts_up(e)) gate[s] =
//   fp8_sim(round(swiglu(gate[s], up[s]) * weight(s)))       launch_gate found[s] = w2 gate[s]
//   launch_experts(experts_down(e))
//
// A slot s is a choice of a token; slots of one expert lie side by side (router.h groups them).
// A slot's products have the bits of the same product in linear.h, whatever else its expert gets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/product_plan.h"
#include "kernels/cuda/types.h"

namespace v4i::kernels::cuda {

enum : std::int32_t { kW1 = 0, kW3 = 1, kW2 = 2 };

// Where an expert lies on the device; null: not there, its group is passed over.
struct ExpertPlace {
  const std::uint8_t* data[3] = {};
  const std::uint8_t* scale[3] = {};
};

// As v4i_group made it.
struct GroupsView {
  const std::int32_t* active = nullptr;        // experts that have slots, rising
  const std::int32_t* active_count = nullptr;  // [1]
  const std::int32_t* begin = nullptr;         // [experts + 1]
  const std::int32_t* slot_token = nullptr;    // [slots]
};

// The experts of a layer for the tokens of a run.
struct ExpertsArgs {
  Matrix up{}, down{};  // shape, format and row_bytes of w1 and w3, of w2; data and scale are null
  const ExpertPlace* places = nullptr;  // [experts], device memory
  GroupsView groups{};
  std::int32_t max_groups = 0;  // min(experts, tokens * choices)
  std::int32_t tokens = 0;      // no group is larger
  const float* x = nullptr;     // [tokens, up.cols], quantised when native
  float* gate = nullptr;        // [slots, up.rows]
  float* up_out = nullptr;      // [slots, up.rows]
  float* found = nullptr;       // [slots, down.rows]
  std::int32_t native = 0;
};

// y[i][s] = W x[row(s)] for the slots s of all groups, W = matrix[i] of the group's expert.
struct ExpertProductsArgs {
  Matrix w{};
  std::int32_t matrix[2] = {};
  float* y[2] = {};  // [slots, w.rows]
  std::int32_t matrices = 0;
  std::int32_t by_token = 0;  // row(s) is slot_token[s], else s
  const float* x = nullptr;   // [*, w.cols]
  const ExpertPlace* places = nullptr;
  GroupsView groups{};
  std::int32_t max_groups = 0, tokens = 0;
  std::int32_t round = 0;
  std::int32_t native = 0;
  FewPlan plan{};               // launch_experts() fills these in
  std::int32_t few_tokens = 0;  // groups of at most so many are for v4i_experts_few
};

inline ExpertProductsArgs experts_products(const ExpertsArgs& e, const Matrix& w) {
  ExpertProductsArgs a;
  a.w = w;
  a.places = e.places;
  a.groups = e.groups;
  a.max_groups = e.max_groups;
  a.tokens = e.tokens;
  a.round = a.native = e.native;
  return a;
}

inline ExpertProductsArgs experts_up(const ExpertsArgs& e) {
  ExpertProductsArgs a = experts_products(e, e.up);
  a.matrices = 2;
  a.matrix[0] = kW1;
  a.matrix[1] = kW3;
  a.y[0] = e.gate;
  a.y[1] = e.up_out;
  a.by_token = 1;
  a.x = e.x;
  return a;
}

inline ExpertProductsArgs experts_down(const ExpertsArgs& e) {
  ExpertProductsArgs a = experts_products(e, e.down);
  a.matrices = 1;
  a.matrix[0] = kW2;
  a.y[0] = e.found;
  a.x = e.gate;
  return a;
}

// One launch for groups of few tokens and, where there can be larger ones, one for those; in any
// order.  Those without a kernel are nothing to do.
struct ExpertLaunches {
  Launch launch[2];
};

inline Launch launch_experts_float(ExpertProductsArgs& a) {
  a.plan = float_plan(a.w);
  Launch l;
  l.kernel = "v4i_experts_float";
  l.threads = 32 * kProductWarps;
  l.x = static_cast<std::uint32_t>(a.matrices * divide_up(a.w.rows, a.plan.tiles * kFloatRowTile));
  l.y = static_cast<std::uint32_t>(a.max_groups);
  l.shared = std::size_t(float_shared(a.plan));
  return l;
}

inline Launch launch_experts_few(ExpertProductsArgs& a) {
  a.few_tokens = a.tokens < kFewTokens ? a.tokens : kFewTokens;
  // Groups are smaller than all the tokens as a rule.
  a.plan = few_plan(a.w, a.few_tokens);
  Launch l;
  l.kernel = a.few_tokens <= 8 ? "v4i_experts_few" : "v4i_experts_few16";
  l.threads = 32 * kProductWarps;
  l.x = static_cast<std::uint32_t>(a.matrices * divide_up(a.w.rows, a.plan.tiles * kRowTile));
  l.y = static_cast<std::uint32_t>(a.max_groups);
  l.shared = std::size_t(few_shared(a.w, a.plan, a.few_tokens).bytes());
  return l;
}

inline Launch launch_experts_many(const ExpertProductsArgs& a) {
  if (a.tokens <= kFewTokens) return {};
  Launch l;
  l.kernel = "v4i_experts_many";
  l.threads = 32 * kProductWarps;
  l.x = static_cast<std::uint32_t>(a.matrices *
                                   divide_up(a.w.rows, static_cast<std::int32_t>(l.threads)));
  l.y = static_cast<std::uint32_t>(a.max_groups);
  l.z = static_cast<std::uint32_t>(divide_up(a.tokens, kManyTokens));
  l.shared = std::size_t(many_shared(a.w.format, static_cast<std::int32_t>(l.threads)));
  return l;
}

// Fills in what the kernels want to know beside the products.
inline ExpertLaunches launch_experts(ExpertProductsArgs& a) {
  if (a.tokens == 0 || a.max_groups == 0) return {};
  if (needs_float(a.w, a.native != 0)) return {{launch_experts_float(a), {}}};
  const Launch few = launch_experts_few(a);
  return {{few, launch_experts_many(a)}};
}

// gate[s] = swiglu(gate[s], up[s]) * weight[s], rounded when native, then fp8_sim in blocks of
// quantise_block when that is not 0.  Also of the shared expert: weight null is 1.
struct GateArgs {
  float* gate = nullptr;          // [slots, width]
  const float* up = nullptr;      // [slots, width]
  const float* weight = nullptr;  // [slots]
  const std::int32_t* count =
      nullptr;             // slots there are, in device memory (begin + experts); or null
  std::int32_t slots = 0;  // at most
  std::int32_t width = 0;
  float limit = 0;  // 0: none
  std::int32_t quantise_block = 0;
  std::int32_t native = 0;
};

constexpr int kGateWarps = 4;       // of a block, each with channels of its own
constexpr int kGateChannels = 128;  // of a warp where nothing is quantised

inline Launch launch_gate(const GateArgs& a) {
  if (a.slots == 0) return {};
  const std::int32_t channels = a.quantise_block > 0 ? a.quantise_block : kGateChannels;
  Launch l;
  l.kernel = "v4i_experts_gate";
  l.x = static_cast<std::uint32_t>(a.slots);
  l.y = static_cast<std::uint32_t>(divide_up(divide_up(a.width, channels), kGateWarps));
  l.threads = 32 * kGateWarps;
  return l;
}

}  // namespace v4i::kernels::cuda
