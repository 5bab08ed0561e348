// AVX2 + FMA: indexer.
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
#include "kernels/cpu/indexer.inl"
// clang-format on

}  // namespace

void avx2::index_scores(const IndexArgs& a) { kernels::index_scores(a); }

}  // namespace v4i::kernels

#endif
