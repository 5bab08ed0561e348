// Windows of token classes, from which Engram's rows are hashed.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/engram/class_map.h"
#include "lib/kv/prefix.h"

namespace v4i::forward {

// Appends the window of a position: the classes of its id and the `size` - 1 before it, newest
// first; engram::kDead before the first token and for what stands for a medium.
void add_window(const engram::ClassMap& classes, const kv::Prefix& prefix, std::int64_t position,
                std::int64_t size, std::vector<std::int32_t>* out);

}  // namespace v4i::forward
