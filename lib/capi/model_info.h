// What the interface tells about a model: info struct, JSON description, and the
// bytes that reading or running it takes.
#pragma once

#include <cstdint>
#include <string>

#include "include/v4infer/v4infer.h"
#include "lib/model/model.h"
#include "lib/session/context.h"

namespace v4i::capi {

v4i_model_info model_info(const model::Model& m);

// Bytes of weights that computing one token reads: every dense tensor, the routed
// experts one token uses, the head; one row of the embedding.
std::uint64_t weight_bytes_per_token(const model::Model& m);

// The JSON of v4i_model_describe().
std::string describe_model(session::Context& context, std::uint32_t flags);

}  // namespace v4i::capi
