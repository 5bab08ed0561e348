// The kernels of one commit as a loadable object, for kernel_ab.
#include "kernels/kernels.h"

#define V4I_AB_EXPORT extern "C" __attribute__((visibility("default")))

V4I_AB_EXPORT const v4i::kernels::KernelTable* v4i_ab_table(const char* isa) {
  return v4i::kernels::select_kernels(isa);
}

V4I_AB_EXPORT std::int64_t v4i_ab_scratch_floats(std::int64_t cols) {
  return v4i::kernels::linear_scratch_floats(cols);
}
