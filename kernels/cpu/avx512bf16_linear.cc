// AVX-512 with BF16, VBMI and VNNI: linear.
#if defined(__x86_64__)
#include "kernels/cpu/tables.h"

namespace v4i::kernels {

void avx512bf16::linear(const LinearArgs& a) { avx512::linear(a); }

}  // namespace v4i::kernels

#endif
