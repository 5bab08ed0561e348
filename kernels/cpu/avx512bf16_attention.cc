// AVX-512 with BF16, VBMI and VNNI: attention.
//
// Packed rows in native: q, stored rows and p are bf16 values, so both products run on
// vdpbf16ps.  A tile of rows is dequantised once for all heads of the call.  Heads lie in
// the lanes of q k (softmax is vertical then), channels in the lanes of p k.  The sum over
// rows is formed in pairs from the first row on, whatever heads are in the call.
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
#include "kernels/cpu/exp.inl"
#include "kernels/cpu/avx512_transpose.inl"
#include "kernels/cpu/bf16_of_fp8.inl"
#include "kernels/cpu/avx512bf16_kv_rows.inl"
// clang-format on

constexpr int kTile = static_cast<int>(kAttentionTile);
constexpr int kPairs = kTile / 2;
constexpr int kBlock = 64;      // channels with one scale
constexpr int kDotRows = 8;     // x 2 vectors of heads: 16 sums
constexpr int kSumHeads = 4;    // x 4 vectors of channels: 16 sums
constexpr int kDotPairs = 128;  // channel pairs of q that stay in the first-level cache

struct Plan {
  const AttentionArgs& a;
  int row_bytes;
  int dim, heads, lanes;  // lanes: heads, up to a multiple of 16
  std::uint32_t* q;       // by 32 heads: [dim / 2][32] pairs of channels
  std::uint32_t* tile;    // [kTile][dim / 2], or [dim / 64][kPairs][64] pairs of rows
  float* logit;           // [rows, padded][lanes]; then [rows / 2][lanes] pairs of p
  float* inverse;         // [lanes]
};

// q of 16 heads from `head` on, pairs of channels, transposed.
void transpose_q(const Plan& p, int head, std::uint32_t* out, int stride) {
  const int n = p.heads - head < 16 ? p.heads - head : 16;
  for (int c = 0; c < p.dim; c += 32) {
    __m512i r[16];
    for (int i = 0; i < 16; ++i) {
      const float* q = p.a.q + (p.a.head_begin + head + (i < n ? i : 0)) * p.dim + c;
      const __m512bh pair = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(q + 16), _mm512_loadu_ps(q));
      r[i] = i < n ? bits_of(pair) : _mm512_setzero_si512();
    }
    transpose16(r);
    for (int i = 0; i < 16; ++i) _mm512_store_si512(out + (c / 2 + i) * stride, r[i]);
  }
}

// logit[r][lane] (+)= sum over `pairs` of q k, for 8 rows and kV vectors of heads.
template <int kV>
void dot_rows(const std::uint32_t* q, const std::uint32_t* key, int key_stride, int pairs,
              bool first, float* logit, int lanes) {
  __m512 sum[kDotRows][kV];
#pragma GCC unroll 8
  for (int r = 0; r < kDotRows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < kV; ++v)
      sum[r][v] = first ? _mm512_setzero_ps() : _mm512_load_ps(logit + r * lanes + 16 * v);
  for (int k = 0; k < pairs; ++k) {
    __m512bh lane[kV];
#pragma GCC unroll 2
    for (int v = 0; v < kV; ++v) lane[v] = bf16_of(_mm512_load_si512(q + (k * kV + v) * 16));
#pragma GCC unroll 8
    for (int r = 0; r < kDotRows; ++r) {
      const __m512bh one = bf16_of(_mm512_set1_epi32(static_cast<int>(key[r * key_stride + k])));
#pragma GCC unroll 2
      for (int v = 0; v < kV; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], lane[v], one);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kDotRows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < kV; ++v) _mm512_store_ps(logit + r * lanes + 16 * v, sum[r][v]);
}

// Rows come from anywhere in memory.  A prefetch is dropped when its page has no translation
// at hand, a load is not; and a tile of loads is all under way at once.
inline void touch_rows(const Plan& p, std::int64_t first) {
  const std::int64_t last = first + kTile < p.a.rows ? first + kTile : p.a.rows;
  for (std::int64_t i = first; i < last; ++i) {
    const auto* row = static_cast<const volatile char*>(p.a.row[i]);
    for (int b = 0; b < p.row_bytes; b += 64) (void)row[b];
  }
}

// The same for rows that were seen once, beside other work.
inline void prefetch_rows(const Plan& p, std::int64_t first, int count) {
  const std::int64_t last = first + count < p.a.rows ? first + count : p.a.rows;
  for (std::int64_t i = first; i < last; ++i)
    for (int b = 0; b < p.row_bytes; b += 64)
      _mm_prefetch(static_cast<const char*>(p.a.row[i]) + b, _MM_HINT_T0);
}

// Logits of a tile of n rows, 32 heads and 128 channel pairs at a time.
void dot_tile(const Plan& p, std::int64_t at, int n) {
  const void* const* row = p.a.row + at;
  float* logit = p.logit + at * p.lanes;
  const int pairs = p.dim / 2, padded = (n + kDotRows - 1) / kDotRows * kDotRows;
  touch_rows(p, at + kTile);
  for (int i = 0; i < n; ++i) read_row(p.a.shape, row[i], p.tile + i * pairs);
  std::memset(p.tile + n * pairs, 0, sizeof(std::uint32_t) * std::size_t((padded - n) * pairs));
  for (int l = 0; l < p.lanes; l += 32) {
    const std::uint32_t* q = p.q + l * pairs;
    for (int k = 0; k < pairs; k += kDotPairs) {
      const int m = pairs - k < kDotPairs ? pairs - k : kDotPairs;
      for (int r = 0; r < padded; r += kDotRows) {
        const std::uint32_t* key = p.tile + r * pairs + k;
        float* out = logit + r * p.lanes + l;
        if (p.lanes - l >= 32)
          dot_rows<2>(q + k * 32, key, pairs, m, k == 0, out, p.lanes);
        else
          dot_rows<1>(q + k * 16, key, pairs, m, k == 0, out, p.lanes);
      }
    }
  }
}

// Logits of 16 heads become pairs of p; keeps 1 / (sum of p and the sink).
void softmax(const Plan& p, int lane) {
  const std::int64_t rows = p.a.rows;
  float* logit = p.logit + lane;
  F16 top = {_mm512_load_ps(logit)};
  for (std::int64_t i = 1; i < rows; ++i) top = maximum(top, {_mm512_load_ps(logit + i * p.lanes)});
  const F16 scale = all(p.a.scale);
  top = mul(top, scale);
  F16 sum = zero();
  for (std::int64_t i = 0; i < rows; i += 2) {
    const float* l = logit + i * p.lanes;
    const F16 p0 = exp_negative(sub(mul({_mm512_load_ps(l)}, scale), top));
    F16 p1 = zero();
    if (i + 1 < rows) p1 = exp_negative(sub(mul({_mm512_load_ps(l + p.lanes)}, scale), top));
    sum = add(add(sum, p0), p1);
    const __m512i both = bits_of(_mm512_cvtne2ps_pbh(p1.v, p0.v));
    _mm512_store_si512(logit + i / 2 * p.lanes, _mm512_permutexvar_epi16(interleave_order(), both));
  }
  const int n = p.heads - lane < 16 ? p.heads - lane : 16;
  const float* sinks = p.a.sink + p.a.head_begin + lane;
  const F16 sink = {_mm512_mask_loadu_ps(top.v, first(n), sinks)};
  const F16 total = add(sum, exp_negative(sub(sink, top)));
  float* inverse = p.inverse + lane;
  _mm512_store_ps(inverse, _mm512_div_ps(_mm512_set1_ps(1.0f), total.v));
  const __mmask16 above = _mm512_cmp_ps_mask(sink.v, top.v, _CMP_GT_OQ);
  if (above == 0) return;
  alignas(64) float s[16], t[16];  // exp(sink - top) may be huge: the scalar way
  store(s, sum);
  store(t, top);
  for (int i = 0; i < n; ++i)
    if ((above >> i & 1) != 0)
      inverse[i] = static_cast<float>(1.0 / (s[i] + __builtin_exp(double(sinks[i]) - t[i])));
}

// out[h][c] (+)= sum over pairs of rows of p k, for kH heads and 64 channels.
template <int kH>
void sum_rows(const std::uint32_t* value, const std::uint32_t* weight, int lanes, int pairs,
              bool first, float* out, int dim) {
  __m512 sum[kH][4];
#pragma GCC unroll 4
  for (int h = 0; h < kH; ++h)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v)
      sum[h][v] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(out + h * dim + 16 * v);
  for (int k = 0; k < pairs; ++k) {
    __m512bh lane[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) lane[v] = bf16_of(_mm512_load_si512(value + k * kBlock + 16 * v));
#pragma GCC unroll 4
    for (int h = 0; h < kH; ++h) {
      const __m512bh one = bf16_of(_mm512_set1_epi32(static_cast<int>(weight[k * lanes + h])));
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[h][v] = _mm512_dpbf16_ps(sum[h][v], lane[v], one);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kH; ++h)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) _mm512_storeu_ps(out + h * dim + 16 * v, sum[h][v]);
}

// Adds a tile of n rows to the outputs of all heads.
void sum_tile(const Plan& p, std::int64_t at, int n) {
  const void* const* row = p.a.row + at;
  const auto* weight = reinterpret_cast<const std::uint32_t*>(p.logit + at / 2 * p.lanes);
  const int pairs = (n + 1) / 2, share = (kTile * kBlock + p.dim - 1) / p.dim;
  for (int i = 0; i < pairs; ++i)
    read_row_pair(p.a.shape, row[2 * i], 2 * i + 1 < n ? row[2 * i + 1] : nullptr,
                  p.tile + i * kBlock, kPairs * kBlock);
  for (int c = 0; c < p.dim; c += kBlock) {
    const std::uint32_t* value = p.tile + c * kPairs;
    prefetch_rows(p, at + kTile + c / kBlock * share, share);
    float* out = p.a.out + p.a.head_begin * p.dim + c;
    int h = 0;
    for (; h + kSumHeads <= p.heads; h += kSumHeads)
      sum_rows<kSumHeads>(value, weight + h, p.lanes, pairs, at == 0, out + h * p.dim, p.dim);
    for (; h < p.heads; ++h)
      sum_rows<1>(value, weight + h, p.lanes, pairs, at == 0, out + h * p.dim, p.dim);
  }
}

void attention(const Plan& p) {
  touch_rows(p, 0);
  for (int l = 0; l < p.lanes; l += 16) {
    const int stride = p.lanes - l / 32 * 32 >= 32 ? 32 : 16;
    transpose_q(p, l, p.q + l / 32 * 32 * (p.dim / 2) + l % 32, stride);
  }
  const auto rows_at = [&p](std::int64_t i) {
    return static_cast<int>(p.a.rows - i < kTile ? p.a.rows - i : kTile);
  };
  for (std::int64_t i = 0; i < p.a.rows; i += kTile) dot_tile(p, i, rows_at(i));
  for (int l = 0; l < p.lanes; l += 16) softmax(p, l);
  for (std::int64_t i = 0; i < p.a.rows; i += kTile) sum_tile(p, i, rows_at(i));
  for (int h = 0; h < p.heads; ++h) {
    float* out = p.a.out + (p.a.head_begin + h) * p.dim;
    const F16 inverse = all(p.inverse[h]);
    for (int c = 0; c < p.dim; c += 16)
      store(out + c, rounded_bf16(mul({_mm512_loadu_ps(out + c)}, inverse)));
  }
}

}  // namespace

void avx512bf16::attention(const AttentionArgs& a) {
  const RowShape& s = a.shape;
  const bool v4_rows = s.form == RowForm::kFp8Rope16 && a.split >= a.rows;
  if (!v4_rows || !a.round_bf16 || s.dim % kBlock != 0 || s.rope % kBlock != 0)
    return avx512::attention(a);
  const int heads = static_cast<int>(a.head_end - a.head_begin), lanes = (heads + 15) / 16 * 16;
  const auto at = reinterpret_cast<std::uintptr_t>(a.scratch);
  float* scratch = a.scratch + (64 - at % 64) % 64 / 4;
  auto* q = reinterpret_cast<std::uint32_t*>(scratch);
  std::uint32_t* tile = q + lanes * (s.dim / 2);
  float* inverse = reinterpret_cast<float*>(tile + kTile * (s.dim / 2));
  kernels::attention({a, s.dim + s.rope + (s.dim - s.rope) / kBlock, s.dim, heads, lanes, q, tile,
                      inverse + lanes, inverse});
}

}  // namespace v4i::kernels

#endif
