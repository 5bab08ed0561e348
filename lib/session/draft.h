// Draft: guesses the token behind the next one with the model's MTP block (spec 3.1), so that one
// run of the model computes two tokens.
//
// A guess only decides what is computed together.  Session draws every token from the model's own
// logits and takes back what was computed for a wrong guess, so a text never depends on drafts.
//
// The block sees a window of its own.  It begins empty wherever drafting begins, counts positions
// from there (its RoPE is relative), and guesses better as its window fills.
//
// One thread at a time; guess() under the engine's compute lock.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/kv/state.h"
#include "lib/session/context.h"
#include "lib/session/pays.h"

namespace v4i::session {

class Draft {
 public:
  static constexpr int kMost = 2;  // tokens of a run: the pending one and a guess

  static bool possible(const Context& context) { return !context.model().weights().mtp.empty(); }
  explicit Draft(Context& context);  // Error(kNoMemory)

  // Where a run of at most kMost tokens leaves their streams and logits.
  float* hidden() { return hidden_.data(); }
  float* logits() { return logits_.data(); }
  std::span<const float> logits(std::size_t token) const {
    return {logits_.data() + token * vocab_, vocab_};
  }
  // That run has computed tokens [end - count, end) of the session, and they stay.
  void computed(std::int64_t end, std::int64_t count);

  // The token behind tokens[position], or none where the last run did not end at `position`.
  std::optional<std::int32_t> guess(std::span<const std::int32_t> tokens, std::int64_t position,
                                    const CancelFlag* cancel);
  Pays& pays() { return pays_; }

 private:
  Context& context_;
  const std::size_t vocab_;
  kv::State state_;  // of the block
  Buffer<float> hidden_, logits_, guesses_;
  std::int64_t end_ = -1, count_ = 0;  // of the last run
  std::int64_t fed_ = -1;              // the block has seen the session's tokens up to here
  Pays pays_;
};

}  // namespace v4i::session
