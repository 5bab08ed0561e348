// NEON (armv8-a): indexer.
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
#include "kernels/cpu/indexer.inl"
// clang-format on

}  // namespace

void neon::index_scores(const IndexArgs& a) { kernels::index_scores(a); }

}  // namespace v4i::kernels

#endif
