// The KV layout that a model asks for.
#pragma once

#include "lib/forward/options.h"
#include "lib/kv/layout.h"
#include "lib/model/plan.h"

namespace v4i::forward {

// Tokens that can be taken back without recomputing: a draft of up to 15 and one.
constexpr int kRollback = 16;

// kv::Layout::row_reads of backends that read single rows.
int row_reads(const model::Config& config);

kv::Layout make_layout(const model::Config& config, const model::Plan& plan,
                       const Options& options);
// A window layer for each draft stage.
kv::Layout make_draft_layout(const model::Config& config, const model::Plan& plan,
                             const Options& options);

}  // namespace v4i::forward
