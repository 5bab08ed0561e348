// NEON (armv8-a): attention.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_neon.inl"
#include "kernels/cpu/scales.inl"
#include "kernels/cpu/exp.inl"
#include "kernels/cpu/attention.inl"
#include "kernels/cpu/dense_attention.inl"
// clang-format on

}  // namespace

void neon::attention(const AttentionArgs& a) { kernels::attention(a); }
bool neon::dense_attention(const DenseAttentionArgs& a) { return kernels::dense_attention(a); }

}  // namespace v4i::kernels

#endif
