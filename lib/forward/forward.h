// Forward: tokens in, logits out.  What is the same on every machine: checks of the batch, the
// layer loop, cancelling, undo.  The mathematics is in the backends' folders (cpu/).
//
// A batch is any mix of sessions and of prompt and decode tokens.  Each token is
// computed as if it were alone: its result does not depend, bit for bit, on the
// chunk it came in, on its batch companions, on the thread count or on where a
// KV block lies.
//
// One run() at a time (the engine's ComputeLock).  Workspaces are claimed at
// construction; a decode step allocates nothing but new KV blocks and now and then a snapshot.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/cancel.h"
#include "lib/forward/backend.h"
#include "lib/forward/batch.h"
#include "lib/forward/options.h"
#include "lib/kv/layout.h"

namespace v4i::forward {

class Forward {
 public:
  // Error(kNoMemory) when the workspace does not fit the budget, Error(kUnsupported) for what the
  // backend has no kernels for.  `lookups.experts` null: those of the mapped checkpoint.
  Forward(std::shared_ptr<const model::Model> model, Backend& backend, const Options& options,
          Lookups lookups = {});
  ~Forward();

  const model::Model& model() const { return *model_; }
  const Options& options() const { return options_; }
  const kv::Layout& layout() const { return layout_; }  // of the KV state of one sequence
  const kv::Layout& draft_layout() const { return draft_layout_; }
  const std::string& identity() const { return executor_->identity(); }
  EngramGates engram_gates() const { return executor_->engram_gates(); }
  std::size_t workspace_bytes() const { return executor_->workspace_bytes(); }

  // Computes every item's tokens and advances its state.  Throws Error: kCancelled
  // (looked at before every layer and between pieces of the head), kNoMemory, kFormat (a damaged
  // tensor met at first touch), kInvalid (token id out of range), kUnsupported (an input that the
  // model or the backend cannot take); kv::LostRows.  After a throw every state is as it
  // was, at most without its snapshots.  A profile, if given, is told where the time went.
  void run(std::span<const Item> items, const CancelFlag* cancel, Profile* profile = nullptr);

  // See Executor::encode_image().
  void encode_image(std::int64_t grid_height, std::int64_t grid_width, const float* patches,
                    float* out, const CancelFlag* cancel) {
    executor_->encode_image(grid_height, grid_width, patches, out, cancel);
  }

  // The MTP block (spec 3.1): `hidden` [n, hc_mult, width] of positions
  // first..first+n-1 and the tokens that follow each -> logits [n, vocab].
  // `state` is a state of draft_layout(), its length == first; it is advanced.
  void run_mtp(kv::State& state, std::span<const std::int32_t> next_tokens, const float* hidden,
               float* logits, const CancelFlag* cancel);

  // DSpark (spec 3.2; V4.1's 5).  False: the model or the backend has none.
  bool has_dspark() const;
  // Shows the stages n tokens at positions state.length()...: `taps` [n, taps, width] as
  // Item::taps gives them.  `state` is a state of draft_layout(); it is advanced.
  void feed_dspark(kv::State& state, std::span<const std::int32_t> tokens, const float* taps,
                   const CancelFlag* cancel);
  // Guesses what follows `token`, which is at position state.length(); the state stays as it is.
  // Needs max_tokens of a block; kContextFull where the block would reach over the last position.
  void run_dspark(kv::State& state, std::int32_t token, const Guesses& out,
                  const CancelFlag* cancel);

  // Layers [first, last) with forced inputs, for tests: before each layer, and once behind the
  // last, `visit` sees what the layer before has left, streams [n, hc_mult, width] and with lagged
  // mHC pre [n, hc_mult] (else empty), and may change it.  The first finds zeros.  Tokens are at
  // positions state.length()...; the state is not advanced.
  using Visit = std::function<void(int layer, std::span<float> streams, std::span<float> pre)>;
  void run_layers(int first, int last, kv::State& state, std::span<const std::int32_t> tokens,
                  const Visit& visit);

 private:
  void set_batch(std::span<const Item> items);
  void check_dspark() const;
  void layer(Layer which, const Batch& out, const CancelFlag* cancel);
  void emit(const CancelFlag* cancel);
  void head(bool draft, const CancelFlag* cancel);
  template <class Body>
  void in_chunk(std::span<const Item> items, Body&& body);

  std::shared_ptr<const model::Model> model_;
  Options options_;
  // Taps are of the last layer's output, so their tokens have outputs.
  const bool taps_after_last_;
  kv::Layout layout_, draft_layout_;
  std::unique_ptr<Executor> executor_;
  Batch all_, outputs_;
  std::vector<kv::State*> states_;
  std::vector<LogitsRow> rows_;
  std::vector<std::int32_t> block_;  // of DSpark: a token, then noise
};

}  // namespace v4i::forward
