// The tables that this build holds; each is defined in one file with its own flags.
#pragma once

#include "kernels/kernels.h"

namespace v4i::kernels {

extern const KernelTable kScalarKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif

}  // namespace v4i::kernels
