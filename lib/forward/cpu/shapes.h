// What the kernels of the CPU assume of a model.
#pragma once

#include "kernels/kernels.h"
#include "lib/model/model.h"

namespace v4i::forward::cpu {

// Error(kUnsupported) naming the number that the kernels cannot work with.
void check_shapes(const model::Model& m);
// Error(kUnsupported) unless model and kernels have the int8 products of Numerics::kFast.
void check_fast(const model::Model& m, const kernels::KernelTable& kernels);

}  // namespace v4i::forward::cpu
