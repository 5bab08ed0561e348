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
#include "kernels/cpu/streams.inl"
// clang-format on

}  // namespace

void avx512::query_heads(const HeadsArgs& a) { kernels::query_heads(a); }
void avx512::output_heads(const HeadsArgs& a) { kernels::output_heads(a); }
void avx512::index_heads(const HeadsArgs& a) { kernels::index_heads(a); }
void avx512::store_row(const PackArgs& a) { kernels::store_row(a); }
void avx512::pool(const PoolArgs& a) { kernels::pool(a); }
void avx512::quantise(const QuantiseArgs& a) { kernels::quantise(a); }
void avx512::swiglu(const SwigluArgs& a) { kernels::swiglu(a); }
void avx512::collapse(const CollapseArgs& a) { kernels::collapse(a); }
void avx512::mix_back(const MixArgs& a) { kernels::mix_back(a); }

}  // namespace v4i::kernels

#endif
