// AVX-512 (F, BW, VL, DQ): rows.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"
#include "kernels/quant.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_avx512.inl"
#include "kernels/cpu/exp.inl"
#include "kernels/cpu/pool.inl"
#include "kernels/cpu/rows.inl"
// clang-format on

}  // namespace

void avx512::query_heads(const HeadsArgs& a) { kernels::query_heads(a); }
void avx512::output_heads(const HeadsArgs& a) { kernels::output_heads(a); }
void avx512::index_heads(const HeadsArgs& a) { kernels::index_heads(a); }
void avx512::store_row(const PackArgs& a) { kernels::store_row(a); }
void avx512::pool(const PoolArgs& a) { kernels::pool(a); }

}  // namespace v4i::kernels

#endif
