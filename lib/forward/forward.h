// Forward: tokens in, logits out.  The model's mathematics, one file per part:
//
//   forward.cc     the skeleton: layers, chunks, cancel, undo (spec 2.2)
//   hyper.cc       mHC: residual streams (2.3)
//   attention.cc   projections, candidate rows, output projection (2.4, 2.7)
//   compressor.cc  compressed rows of CSA and HCA (2.5)
//   indexer.cc     top-k selection of CSA rows (2.6)
//   moe.cc         router and experts (2.8, 2.9)
//   head.cc        logits; mtp.cc the draft block (3.1)
//
// A batch is any mix of sessions and of prompt and decode tokens.  Each token is
// computed as if it were alone: its result does not depend, bit for bit, on the
// chunk it came in, on its batch companions, on the thread count or on where a
// KV block lies.
//
// One run() at a time (the scheduler's lock).  Workspaces are claimed at
// construction; a decode step allocates nothing but new KV blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "lib/base/budget.h"
#include "lib/base/cancel.h"
#include "lib/kv/state.h"
#include "lib/model/model.h"

namespace v4i {
class ThreadPool;
}
namespace v4i::kernels {
struct KernelTable;
}

namespace v4i::forward {

class Profile;  // profile.h

// kExact:  float32 activations, no activation quantisation (compared with the
//          oracle at 1e-4).
// kNative: as trained: activations rounded to bf16 between modules and to fp8/fp4
//          where the reference does, packed KV rows.
// kFast:   native, but the products with fp8 and fp4 weights are made of int8
//          (kernels/linear.h): inputs and weights of a row, 512 columns to a scale.
enum class Numerics { kExact, kNative, kFast };

// One sequence's share of a batch: `tokens` follow state->length().
struct Item {
  kv::State* state = nullptr;
  std::span<const std::int32_t> tokens;
  // Where logits go, float32: nullptr, [vocab] of the last token, or with
  // all_logits [tokens, vocab].
  float* logits = nullptr;
  bool all_logits = false;
  // nullptr, or [tokens, hc_mult, width]: streams after the last layer (drafting).
  float* hidden = nullptr;
};

struct Options {
  Numerics numerics = Numerics::kNative;
  int max_tokens = 512;  // of one run(), all items together
};

class Forward {
 public:
  // Error(kNoMemory) when the workspace does not fit the budget, Error(kUnsupported) for kFast
  // where kernels or model have no such products.
  Forward(std::shared_ptr<const model::Model> model, const kernels::KernelTable& kernels,
          ThreadPool& pool, Budget& budget, const Options& options);
  ~Forward();

  const model::Model& model() const;
  const Options& options() const;
  const kv::Layout& layout() const;  // of the KV state of one sequence
  std::size_t workspace_bytes() const;

  // Computes every item's tokens and advances its state.  Throws Error: kCancelled
  // (looked at before every layer), kNoMemory, kFormat (a damaged tensor met at
  // first touch), kInvalid (token id out of range).  After a throw every state is
  // exactly as it was.  A profile, if given, is told where the time went.
  void run(std::span<const Item> items, const CancelFlag* cancel, Profile* profile = nullptr);

  // The MTP block (spec 3.1): `hidden` [n, hc_mult, width] of positions
  // first..first+n-1 and the tokens that follow each -> logits [n, vocab].
  // `state` is a state of draft_layout(), its length == first; it is advanced.
  void run_mtp(kv::State& state, std::span<const std::int32_t> next_tokens, const float* hidden,
               float* logits, const CancelFlag* cancel);
  const kv::Layout& draft_layout() const;

  // One block alone, for teacher-forced tests: `streams` [n, hc_mult, width] in and
  // out, tokens at positions state.length()...  The state is not advanced and rows
  // of other layers are not touched.
  void run_layer(int layer, kv::State& state, std::span<const std::int32_t> tokens, float* streams);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace v4i::forward
