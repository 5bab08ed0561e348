// Parts of the forward pass: the rows of a roofline table, and what one token costs
// in each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace v4i::model {

class Model;

enum class Part : int {
  kEmbedding,   // rows of the table
  kEngram,      // rows of the n-gram tables, their projection and gates
  kHyper,       // mHC: mixing coefficients, collapse, write back
  kNorm,        // of the modules' input
  kAttention,   // projections in and out, with their norms and rope
  kRows,        // softmax over window and compressed rows
  kCompressor,  // new compressed rows, and index keys
  kIndexer,     // scores of index keys, top-k
  kRouter,
  kRouted,  // routed experts
  kShared,  // shared expert
  kHead,
  kOther,
};
inline constexpr int kPartCount = static_cast<int>(Part::kOther) + 1;

const char* part_name(Part part);  // "embedding", "mhc", ...

template <class T>
struct PerPart {
  std::array<T, kPartCount> values{};
  T& operator[](Part p) { return values[static_cast<std::size_t>(p)]; }
  const T& operator[](Part p) const { return values[static_cast<std::size_t>(p)]; }
};

struct Cost {
  std::uint64_t bytes = 0;  // of weights, read from memory
  std::uint64_t flops = 0;  // of matrix products, 2 per weight
};

// One token through all layers and the head, alone: every dense tensor, the routed
// experts that one token uses, one row of the embedding.  KV rows are not weights.
PerPart<Cost> token_costs(const Model& model);
// One routed expert (all have the same shape).
Cost expert_cost(const Model& model);

}  // namespace v4i::model
