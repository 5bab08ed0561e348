// The KV layout that a model asks for.
#pragma once

#include "lib/forward/options.h"
#include "lib/kv/layout.h"
#include "lib/model/model.h"

namespace v4i::forward {

// Tokens that can be taken back without recomputing: a draft of up to 15 and one.
constexpr int kRollback = 16;

kv::Layout make_layout(const model::Model& m, const Options& options);
kv::Layout make_draft_layout(const model::Model& m, const Options& options);  // one window layer

}  // namespace v4i::forward
