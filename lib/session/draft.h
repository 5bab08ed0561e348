// Draft: guesses the tokens behind the next one, so that one run of the model computes several: one
// with an MTP block (spec 3.1), up to the block size with DSpark's stages (spec 3.2; V4.1's 5).
//
// A guess only decides what is computed together.  Session draws every token from the model's own
// logits and takes back what was computed for a wrong guess, so a text never depends on drafts.
//
// A draft sees a window of its own: MTP's block of streams and tokens, DSpark's stages of taps of
// the model's streams.  The window begins empty wherever drafting begins, counts positions from
// there (RoPE is relative), and guesses get better as it fills.  DSpark's is filled from the last
// tokens of a prompt where prefill() or step() allow drafts.  Tokens that were computed otherwise
// (step_many, eval) leave a gap, behind which it begins again.
//
// One thread at a time; guess() and feed() under the engine's compute lock.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/forward/batch.h"
#include "lib/forward/layouts.h"
#include "lib/kv/state.h"
#include "lib/session/context.h"
#include "lib/session/pays.h"

namespace v4i::session {

class Draft {
 public:
  static constexpr std::size_t kMost =
      forward::kRollback;  // tokens of a run: what can be taken back

  // Tokens of a run, the pending one among them; 1: the model, its backend or the size of its
  // batches allow no drafts.
  static std::int64_t most(Context& context);
  explicit Draft(Context& context);  // Error(kNoMemory)

  // ---- a run of the model.  Of `n` tokens of a prompt with `left` behind them, how many of the
  // last ones it wants to see.
  std::int64_t wants(std::int64_t n, std::int64_t left) const;
  // False: feed() first, or it forgets what it has not been fed.
  bool has_room(std::int64_t n) const { return !dspark_ || rows_ == 0 || rows_ + n <= kFed; }
  // Asks for what it wants to see of the item's last `n` tokens, which are at `first`... in the
  // session.
  void ask(std::int64_t first, std::int64_t n, forward::Item* item);
  // The run was made, and of these tokens the first `n` stay.
  void computed(std::int64_t n);
  // The session has gone back.
  void cut(std::int64_t position);
  // Where a run of at most most() tokens leaves its logits.
  float* logits() { return logits_.data(); }
  std::span<const float> logits(std::size_t token) const {
    return {logits_.data() + token * vocab_, vocab_};
  }

  // Tokens that may follow tokens[position], at most `most`: as many as pay.  None where it has not
  // seen what is before.
  std::span<const std::int32_t> guess(std::span<const std::int32_t> tokens, std::int64_t position,
                                      std::size_t most, const CancelFlag* cancel);
  void feed(std::span<const std::int32_t> tokens, const CancelFlag* cancel);
  // Guess number `at` of the last ones was right, or not.
  void judged(std::size_t at, bool right) { pays_.judged(at, chances_[at], right); }
  Pays& pays() { return pays_; }

 private:
  // Tokens that DSpark is fed at once, where no draft asks for fewer: some share the work, and
  // steps that try a draft now and then do not pay for all those before.
  static constexpr std::int64_t kFed = 16;
  static_assert(kFed >= static_cast<std::int64_t>(kMost));
  static constexpr std::size_t kBlock = 64;  // of a config, at most
  float* row(std::int64_t i) { return seen_.data() + static_cast<std::size_t>(i) * width_; }
  std::size_t guess_mtp(std::span<const std::int32_t> tokens, const CancelFlag* cancel);
  std::size_t guess_dspark(std::int32_t token, const CancelFlag* cancel);

  Context& context_;
  const bool dspark_;
  const std::size_t vocab_, width_;  // floats of what it sees of a token
  const std::int64_t capacity_;      // tokens that it has seen and was not fed
  kv::State state_;                  // of the block or the stages
  Buffer<float> seen_, logits_, guesses_;
  std::int64_t end_ = -1;  // of the session's tokens, those before it were seen
  std::int64_t rows_ = 0;  // of `seen_`: the last of them, not yet fed
  bool gap_ = true;        // between what was fed and these
  std::array<std::int32_t, kBlock> ids_{};
  std::array<float, kBlock> chances_{};
  Pays pays_;
};

}  // namespace v4i::session
