// Rotary frequencies of a model.  Spec 2.1.
#pragma once

#include <vector>

#include "lib/model/config.h"

namespace v4i::forward {

// One per channel pair: plain with rope_theta, or with compress_rope_theta and YaRN for layers with
// compressed rows.
std::vector<float> rope_frequencies(const model::Config& config, bool yarn);

}  // namespace v4i::forward
