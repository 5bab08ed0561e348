// Which kernels the forward pass runs on: the choice for layers above, which do not
// know kernels/.
#pragma once

#include <string>

namespace v4i::kernels {
struct KernelTable;
}

namespace v4i::forward {

// The best kernels that run on this processor, or those of `name` when it is not
// empty.  Error(kUnsupported) naming the ones there are.
const kernels::KernelTable& choose_kernels(const std::string& name);

const char* kernels_name(const kernels::KernelTable& kernels);

}  // namespace v4i::forward
