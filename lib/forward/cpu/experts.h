// The experts of a layer over some tokens, without a Pass: for the CPU's own layers, and for a
// backend that leaves some of its experts to the CPU.
#pragma once

#include "lib/experts/experts.h"
#include "lib/forward/cpu/cpu.h"
#include "lib/forward/profile.h"

namespace v4i::forward::cpu {

// Tokens grouped by the routed experts that they go to.
struct Routed {
  std::int64_t tokens = 0;
  std::int64_t slots = 0;                // (token, expert) pairs
  std::span<const std::int32_t> active;  // experts that have tokens, rising
  const std::int32_t* begin = nullptr;   // slots of expert e: begin[e] to begin[e + 1]
  const std::int32_t* token = nullptr;   // of each slot
  const float* weight = nullptr;         // of each slot
};

// What a router chose: `each` experts a token.
struct Chosen {
  std::int64_t tokens, each, experts;
  const std::int32_t* expert;  // [tokens, each]
  const float* weight;         // [tokens, each]
  std::int32_t first = 0;      // experts below it are left out: another machine computes them
};
struct GroupRoom {
  std::int32_t *begin, *active, *token;  // [experts + 1], [experts], [tokens * each]
  float* weight;                         // [tokens * each]
};
// A counting sort; tokens stay in order.  The result lies in `room`.
Routed group_by_expert(const Chosen& c, const GroupRoom& room);

// What a later layer may need, to be read while this one is computed.
struct Ahead {
  int layer = 0;
  std::span<const std::int32_t> ids{};  // rising; none: nobody knows
};

struct ExpertArgs {
  const model::Moe& moe;
  bool with_shared;  // the shared expert too, last
  int layer;         // of Experts::acquire
  const Routed& routed;
  const float* x;  // [tokens, width], quantised as the numerics want it
  float* gate;     // scratch, [slots + tokens, expert_width]
  float* out;      // [tokens, width], += what the experts give
  Ahead ahead{};
};

// A token's experts are added in rising order of their number, the shared expert last.  `prepared`
// of `p` has room for linear_prepared_bytes(expert_width, slots + tokens).
void run_experts(const Cpu& p, experts::Experts& experts, const ExpertArgs& args, Profile* profile);

}  // namespace v4i::forward::cpu
