// Profile: where the time of forward runs goes, part by part, and what they read.
//
// A run with a profile reads the clock once per part and layer (about 25 ns each); a
// run without one tests a pointer.  Every moment between begin() and end() belongs to
// exactly one part, so the parts add up to the total.  Threads look at the clock twice
// for each of the pool's runs, so that idle time between them can be told.
#pragma once

#include <chrono>
#include <cstdint>

#include "lib/forward/batch.h"
#include "lib/model/model.h"
#include "lib/model/parts.h"

namespace v4i::forward {

class Profile {
 public:
  struct Totals {
    std::uint64_t runs = 0, tokens = 0, experts = 0;  // experts: distinct ones, layer by layer
    // Of a thread, on average, not in a piece of work: waiting for the others, waking up, and what
    // one thread does alone.  It is inside of the parts' ns.
    std::uint64_t idle_ns = 0;
    model::PerPart<std::uint64_t> ns;
    // Read from memory: weights once per run, the experts that were met, and the KV
    // rows and index keys that the last token of each sequence sees.
    model::PerPart<std::uint64_t> bytes;
    model::PerPart<std::uint64_t> flops;
  };

  // What a run was.
  struct Run {
    const model::Model& model;
    const Batch& all;      // its tokens
    const Batch& outputs;  // those that the last layer computed
    std::int64_t head_rows;
    std::uint64_t busy_ns;  // of all threads together, at its end
    int threads;
  };

  // Runs in which every sequence had one token, and all others.
  const Totals& decode() const { return decode_; }
  const Totals& prefill() const { return prefill_; }

  void begin(std::uint64_t busy_ns);  // of all threads together, so far
  // The time since the last mark was `part`.
  void mark(model::Part part);
  // Of the time of a part, that much was another's: their work takes turns.
  void move(model::Part from, model::Part to, std::int64_t ns);
  void add_experts(std::int64_t distinct) { experts_ += static_cast<std::uint64_t>(distinct); }
  // A run that ends without this (an error) leaves no trace.
  void end(const Run& run);
  void add(const Profile& other);

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_;
  model::PerPart<std::uint64_t> ns_;  // of the run in work
  std::uint64_t experts_ = 0;
  std::uint64_t busy_ = 0;  // of the pool's threads, at begin()
  Totals decode_, prefill_;
};

}  // namespace v4i::forward
