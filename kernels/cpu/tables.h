// The kernels of each instruction set, one file per set and family of operations; each file
// has its own compiler flags.  select.cc makes tables of them.
#pragma once

#include "kernels/kernels.h"

namespace v4i::kernels {

#define V4I_KERNELS(isa)                  \
  namespace isa {                         \
  void linear(const LinearArgs& a);       \
  void attention(const AttentionArgs& a); \
  void index_scores(const IndexArgs& a);  \
  }
V4I_KERNELS(scalar)
namespace scalar {
void linear_int8(const LinearArgs& a);
}
#if defined(__x86_64__)
V4I_KERNELS(avx2)
V4I_KERNELS(avx512)
V4I_KERNELS(avx512bf16)  // and VBMI, VNNI
namespace avx512bf16 {
void linear_int8(const LinearArgs& a);
void prepare(const LinearArgs& a, int part, int parts, void* out);
void prepare_int8(const LinearArgs& a, int part, int parts, void* out);
}  // namespace avx512bf16
#elif defined(__aarch64__)
V4I_KERNELS(neon)
namespace neonbf16 {
void linear(const LinearArgs& a);
}
#endif
#undef V4I_KERNELS

#define V4I_ROW_KERNELS(isa)                         \
  namespace isa {                                    \
  bool dense_attention(const DenseAttentionArgs& a); \
  void query_heads(const HeadsArgs& a);              \
  void output_heads(const HeadsArgs& a);             \
  void index_heads(const HeadsArgs& a);              \
  void store_row(const PackArgs& a);                 \
  void pool(const PoolArgs& a);                      \
  void quantise(const QuantiseArgs& a);              \
  void swiglu(const SwigluArgs& a);                  \
  void collapse(const CollapseArgs& a);              \
  void mix_back(const MixArgs& a);                   \
  }
V4I_ROW_KERNELS(scalar)
#if defined(__x86_64__)
V4I_ROW_KERNELS(avx2)
V4I_ROW_KERNELS(avx512)
#elif defined(__aarch64__)
V4I_ROW_KERNELS(neon)
#endif
#undef V4I_ROW_KERNELS

// The definition, for tests.
extern const KernelTable kScalarKernels;

}  // namespace v4i::kernels
