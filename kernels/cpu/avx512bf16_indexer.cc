// AVX-512 with BF16, VBMI and VNNI: indexer.
#if defined(__x86_64__)
#include "kernels/cpu/tables.h"

namespace v4i::kernels {

void avx512bf16::index_scores(const IndexArgs& a) { avx512::index_scores(a); }

}  // namespace v4i::kernels

#endif
