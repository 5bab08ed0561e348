// The tensor directory of the released DeepSeek-V4.1-Flash; see v4_layout.h for its uses.
#pragma once

#include <vector>

#include "tests/support/v4_layout.h"

namespace v4i::test {

// 510,286,023,000 bytes; the two n-gram tables are alone in the last two shards.
std::vector<LayoutTensor> v41_tensors();

}  // namespace v4i::test
