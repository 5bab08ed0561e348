// AVX-512 (F, BW, VL, DQ): indexer.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_avx512.inl"
#include "kernels/cpu/scales.inl"
#include "kernels/cpu/indexer.inl"
// clang-format on

}  // namespace

void avx512::index_scores(const IndexArgs& a) { kernels::index_scores(a); }

}  // namespace v4i::kernels

#endif
