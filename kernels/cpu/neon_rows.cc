// NEON (armv8-a): rows.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu/tables.h"
#include "kernels/formats.h"
#include "kernels/quant.h"

namespace v4i::kernels {
namespace {

// clang-format off
#include "kernels/cpu/lanes_neon.inl"
#include "kernels/cpu/exp.inl"
#include "kernels/cpu/pool.inl"
#include "kernels/cpu/rows.inl"
#include "kernels/cpu/streams.inl"
// clang-format on

}  // namespace

void neon::query_heads(const HeadsArgs& a) { kernels::query_heads(a); }
void neon::output_heads(const HeadsArgs& a) { kernels::output_heads(a); }
void neon::index_heads(const HeadsArgs& a) { kernels::index_heads(a); }
void neon::store_row(const PackArgs& a) { kernels::store_row(a); }
void neon::pool(const PoolArgs& a) { kernels::pool(a); }
void neon::quantise(const QuantiseArgs& a) { kernels::quantise(a); }
void neon::swiglu(const SwigluArgs& a) { kernels::swiglu(a); }
void neon::collapse(const CollapseArgs& a) { kernels::collapse(a); }
void neon::mix_back(const MixArgs& a) { kernels::mix_back(a); }

}  // namespace v4i::kernels

#endif
