// What the forward pass assumes of a model, and the KV layout it asks for.
#pragma once

#include "lib/forward/forward.h"
#include "lib/kv/layout.h"
#include "lib/model/model.h"

namespace v4i::forward {

// Tokens that can be taken back without recomputing: a draft of up to 15 and one.
constexpr int kRollback = 16;

// Error(kUnsupported) naming the number that the kernels cannot work with.
void check_shapes(const model::Model& m);
// Error(kUnsupported) unless model and kernels have the int8 products of kFast.
void check_fast(const model::Model& m, const kernels::KernelTable& kernels);

kv::Layout make_layout(const model::Model& m, Numerics numerics);
kv::Layout make_draft_layout(const model::Model& m, Numerics numerics);  // one window layer

}  // namespace v4i::forward
