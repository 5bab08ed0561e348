// Workspace: every intermediate of a run on the device, claimed once.
//
// N = max_tokens.  All arrays are float32, row per token, unless said otherwise.
#pragma once

#include <cstdint>

#include "kernels/cuda/types.h"
#include "lib/forward/cuda/device.h"
#include "lib/kv/layout.h"
#include "lib/model/model.h"

namespace v4i::forward::cuda {

// An array in the device's memory.
template <class T>
struct Array {
  DeviceBuffer buffer;
  T* data() const { return buffer.as<T>(); }
};

struct Workspace {
  static constexpr std::int64_t kHeadTokens = 16;  // logit rows computed together
  static constexpr std::int64_t kScoreBytes = std::int64_t{64} << 20;  // of the indexer, about

  // Bytes that the constructor takes of the device.
  static std::uint64_t bytes(const model::Config& config, const kv::Layout& layout,
                             std::int64_t max_tokens, bool host_experts);
  Workspace(const model::Config& config, const kv::Layout& layout, std::int64_t max_tokens,
            bool host_experts, std::shared_ptr<Device> device, Budget& budget);

  // The residual streams [hc, D] and what goes with them, in pairs: the last layer of a prompt
  // picks the tokens that have outputs out of the first and goes on in the second.
  struct Tokens {
    Array<float> streams, post, comb, x, xq;  // [hc, D], [hc], [hc, hc], [D], [D]
  };
  Tokens a, b;
  Array<float> mix;             // partial sums of the streams' products (streams.h)
  Array<float> rope_a, rope_b;  // [rope_dim] cosines, sines of both tables
  Array<float> qr, qrq;         // [q_lora]
  Array<float> q;               // [H, d]: queries, then what their heads found
  Array<float> kv;              // [d]
  Array<std::uint8_t> rows;     // stored KV row of each token
  Array<float> z, zq;           // [G, o_lora]
  Array<float> partial;         // [partial_floats of a layer] inputs of its compressors
  Array<float> iq, iw;          // [index_heads, index_dim], [index_heads]
  Array<std::uint8_t> query;    // of the indexer, as its kernels read it
  Array<float> scores;          // [score_tokens, the rows that a token sees]
  Array<float> candidate_score;
  Array<std::int32_t> candidate_row;
  Array<std::int32_t> selected;  // [index_topk] chosen rows, rising
  Array<float> attention;        // partial results of attention
  Array<float> out;              // [D] what a sublayer found
  Array<float> router;           // [E]
  Array<std::int32_t> expert;    // [K] chosen experts
  Array<float> expert_weight;    // [K]
  Array<std::int32_t> begin, active, active_count, slot_token, token_slot;  // groups (router.h)
  Array<float> slot_weight;                                                 // [N K]
  Array<float> gate, up;                                                    // [N K, I]
  Array<float> found;                                                       // [N K, D]
  Array<float> shared_gate, shared_up, shared;                              // [I], [I], [D]
  Array<float> more;    // [D] of the CPU's experts
  Array<float> head_x;  // [kHeadTokens, D]
  Array<float> head_mix;
  Array<float> logits;  // [kHeadTokens, V]

  std::int64_t score_floats = 0;      // of `scores`
  std::int64_t candidate_stride = 0;  // of a token
  std::size_t total = 0;              // bytes

 private:
  template <class Take>
  void all(const model::Config& c, const kv::Layout& layout, std::int64_t n, bool host_experts,
           Take&& take);
  Workspace() = default;
};

}  // namespace v4i::forward::cuda
