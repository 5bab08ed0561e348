// AVX2 + FMA: rows.
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
#include "kernels/cpu/lanes_avx2.inl"
#include "kernels/cpu/exp.inl"
#include "kernels/cpu/pool.inl"
#include "kernels/cpu/rows.inl"
#include "kernels/cpu/streams.inl"
// clang-format on

}  // namespace

void avx2::query_heads(const HeadsArgs& a) { kernels::query_heads(a); }
void avx2::output_heads(const HeadsArgs& a) { kernels::output_heads(a); }
void avx2::index_heads(const HeadsArgs& a) { kernels::index_heads(a); }
void avx2::store_row(const PackArgs& a) { kernels::store_row(a); }
void avx2::pool(const PoolArgs& a) { kernels::pool(a); }
void avx2::quantise(const QuantiseArgs& a) { kernels::quantise(a); }
void avx2::swiglu(const SwigluArgs& a) { kernels::swiglu(a); }
void avx2::collapse(const CollapseArgs& a) { kernels::collapse(a); }
void avx2::mix_back(const MixArgs& a) { kernels::mix_back(a); }

}  // namespace v4i::kernels

#endif
