// NEON (armv8-a): linear.
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
#include "kernels/cpu/linear_rows.inl"
#include "kernels/cpu/linear.inl"
// clang-format on

}  // namespace

void neon::linear(const LinearArgs& a) { kernels::linear(a); }

}  // namespace v4i::kernels

#endif
