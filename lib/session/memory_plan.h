// MemoryPlan: what opening a model and running sessions would take, and where it would lie.
//
// As the CPU computes it.  Opens the model's files and reads what opening reads of them, no
// weights; takes nothing of the Budget.
#pragma once

#include <cstdint>

#include "lib/kv/needs.h"
#include "lib/session/context.h"

namespace v4i::session {

struct PlanOptions {
  OpenOptions open;
  std::uint64_t sessions = 1;
  bool tiered = false;  // KV rows may leave memory for a store
  // What the machine reads in a second; 0: not known.
  double memory_bytes_per_s = 0, disk_bytes_per_s = 0;
};

// Of sessions of `tokens` each, bytes of host memory (`stored`: of a store), with the logits.
struct SessionNeeds {
  std::uint64_t logits = 0, wave = 0;
  kv::Needs kv;  // of all sessions
  std::uint64_t in_memory() const { return logits + kv.fixed + kv.rows; }
  std::uint64_t least() const;  // with a store; as many rows in memory as have to be
};
SessionNeeds session_needs(const kv::Layout& layout, std::uint64_t vocab, std::uint64_t tokens,
                           std::uint64_t sessions, int max_batch_tokens);

struct MemoryPlan {
  std::uint64_t cap = 0, free = 0;  // of host memory; ~0: none
  std::uint64_t tokens = 0;         // of each session that was planned for
  std::uint64_t workspace = 0;      // and room for n-gram rows of a run
  SessionNeeds sessions;
  bool fits = false;         // with all KV state in memory
  bool fits_tiered = false;  // with a store of as many bytes as the budget's disk
  std::uint64_t context_fitting = 0, context_fitting_tiered = 0;  // tokens

  bool experts_mapped = true;
  std::uint64_t experts = 0, experts_in_memory = 0;  // of the layers, without drafts
  std::uint64_t expert_bytes = 0, slot_bytes = 0;    // of all; of one slot, 0 where mapped
  std::uint64_t least_slots = 0;                     // that stay in any case
  std::uint64_t dense_bytes = 0;                     // mapped, of every token, besides the cap
  std::uint64_t file_bytes = 0;

  // Of a token behind `tokens` others in one session.
  std::uint64_t token_memory_bytes = 0, token_disk_bytes = 0;
  double tokens_per_s = 0;  // 0: no estimate

  std::uint64_t slots_least() const { return least_slots * slot_bytes; }
  std::uint64_t host_bytes() const { return workspace + slots_least() + sessions.in_memory(); }
  std::uint64_t host_bytes_tiered() const { return workspace + slots_least() + sessions.least(); }
};

MemoryPlan plan_memory(Engine& engine, const PlanOptions& options);

}  // namespace v4i::session
