// AVX-512 with BF16, VBMI and VNNI: attention.
#if defined(__x86_64__)
#include "kernels/cpu/tables.h"

namespace v4i::kernels {

void avx512bf16::attention(const AttentionArgs& a) { avx512::attention(a); }

}  // namespace v4i::kernels

#endif
