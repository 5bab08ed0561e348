// Executor: one opened model on one machine.  It owns activations, scratch and whatever copies of
// weights the machine needs, and computes one run at a time:
//
//   begin        the streams of the batch's tokens
//   layer ...    from the first to the last
//   streams      copies of streams, for drafts
//   head ...     logits
//   finish       everything is done; results are in host memory
//
// Calls may return before the work is done; errors surface in any call, at the latest in finish().
// What a call is given by pointer or reference stays until finish() or abandon() has returned.
// A run that fails or is cancelled anywhere ends with abandon(), before its states are put back.
//
// Rows of the KV states, experts and activations are touched here and nowhere else.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lib/forward/batch.h"
#include "lib/forward/profile.h"
#include "lib/kv/lease.h"

namespace v4i::forward {

// A layer of the model, or of the stack that drafts.
struct Layer {
  int index = 0;  // in its stack, and of its rows in the KV states
  bool draft = false;
};

// Residual streams in host memory, and with lagged mHC the coefficients that collapse them next.
struct Streams {
  const float* x = nullptr;    // [n, hc_mult, width]
  const float* pre = nullptr;  // [n, hc_mult], or null
};

// Gates of n-gram values, one for each stream of a text token and layer with a table: what was
// added is the gate, between 0 and 1, times the value.
struct EngramGates {
  double sum = 0;
  std::uint64_t count = 0;
};

struct LogitsRow {
  std::int64_t token = 0;   // index in `out` of the last layer()
  float* logits = nullptr;  // host memory, [vocab]
};

// What DSpark says of a block: a guess for each position behind its first token.
struct Guesses {
  std::int32_t* ids = nullptr;  // [block]
  float* confidence = nullptr;  // [block]: logit of the chance that it is right if those before are
  float* logits = nullptr;      // [block, vocab], or null
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Names what the bits of its results depend on besides model and numerics: the backend, and what
  // was decided at open, such as the experts that another machine computes.  Part of the names of
  // KV blocks and of saved sessions.  At most 31 characters.
  virtual const std::string& identity() const = 0;
  virtual std::size_t workspace_bytes() const = 0;
  virtual std::int64_t head_rows() const = 0;              // that one call of head() may ask for
  virtual EngramGates engram_gates() const { return {}; }  // of all runs so far

  // Streams: the tokens' embeddings, hc_mult times; or `given`, where it is not null.  The batch
  // stays as it is until finish() or an error.  A profile, if given, is told where the time goes.
  virtual void begin(const Batch& batch, Streams given, Profile* profile) = 0;
  // Of the MTP block (spec 3.1): from `hidden`, host memory [n, hc_mult, width], and the tokens
  // that follow.
  virtual void begin_draft(const Batch& batch, const float* hidden) = 0;
  // DSpark (spec 3.2; V4.1's 5).  Executors that have it compute Item::taps; others refuse these
  // calls and items with taps (kUnsupported).
  virtual bool has_dspark() const noexcept { return false; }
  // The KV rows of all stages for the batch's tokens, from `taps`, host memory [n, taps, width].
  virtual void feed_dspark(const Batch& batch, const float* taps) = 0;
  // The streams of a block: its first token and noise.  In the layers that follow each token sees
  // all of the block and the window before it; its KV rows are not kept.
  virtual void begin_dspark(const Batch& batch) = 0;
  // The guesses behind the block's first token, greedy, each from the one before it.
  virtual void guess_dspark(const Guesses& out) = 0;
  // Makes the KV rows of `in`, and computes the tokens of `out`: `in` itself, or in the last layer
  // those that have outputs, maybe none.  Later calls count tokens in `out`.  While the lease lives
  // no block of the cache leaves memory: keep it until the layer has read its rows, no longer.
  virtual void layer(Layer layer, const Batch& in, const Batch& out, kv::Lease lease) = 0;
  // [count, hc_mult, width] of the batch's tokens from `first` on, to host memory; and where `pre`
  // is not null, which asks for lagged mHC, [count, hc_mult].
  virtual void streams(std::int64_t first, std::int64_t count, float* to, float* pre) = 0;
  virtual void head(bool draft, std::span<const LogitsRow> rows) = 0;
  virtual void finish() = 0;
  // Embeddings of an image's cells, host memory [cells, width], from its patches [grid_height *
  // grid_width, 3 * patch * patch] in reading order (media::image_patches).  Not during a run.
  // Error(kUnsupported) where the backend has no image tower; kCancelled.
  virtual void encode_image(std::int64_t grid_height, std::int64_t grid_width, const float* patches,
                            float* out, const CancelFlag* cancel);
  // Waits until nothing of this run is under way.
  virtual void abandon() noexcept = 0;
};

}  // namespace v4i::forward
