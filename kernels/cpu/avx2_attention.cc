// AVX2 + FMA: attention.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_avx2.inl"
#include "kernels/cpu/scales.inl"
#include "kernels/cpu/exp.inl"
#include "kernels/cpu/attention.inl"
#include "kernels/cpu/dense_attention.inl"
// clang-format on

}  // namespace

void avx2::attention(const AttentionArgs& a) { kernels::attention(a); }
bool avx2::dense_attention(const DenseAttentionArgs& a) { return kernels::dense_attention(a); }

}  // namespace v4i::kernels

#endif
