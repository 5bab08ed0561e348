// AVX-512 with BF16, VBMI and VNNI: indexer.
//
// fp4 values are small integers times a power of two, so a dot product is integers on vpdpbusd:
// keys lie in the lanes (64 of them a tile), four heads at a time.  Where the scales of a key's
// and of a head's blocks lie within 2^3 of each other, which is nearly always, the integers are
// shifted to one scale and a single sum runs over all blocks; else each block has its own sum.
// Both ways are exact, hence have the same bits.  Rounding to bf16 does not mind powers of two,
// so scales are multiplied in where it is cheapest: a head's into its weight, a key's at the end.
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
#include "kernels/cpu/avx512_transpose.inl"
#include "kernels/cpu/avx512bf16_index_query.inl"
#include "kernels/cpu/avx512bf16_index_keys.inl"
// clang-format on

// Dot products of 64 keys and 4 heads under one scale.
void dot_common(const Query& q, int h, const Keys& k, int steps, __m512 d[kHeads][4]) {
  __m512i sum[kHeads][4];
#pragma GCC unroll 4
  for (int i = 0; i < kHeads; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sum[i][v] = _mm512_set1_epi32(q.base[h + i]);
  const std::uint32_t* head = q.common + h * steps;
#pragma GCC unroll 8
  for (int s = 0; s < steps; ++s) {  // fewer turns: their end is predicted
    __m512i key[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) key[v] = _mm512_load_si512(k.common + s * kKeys + 16 * v);
#pragma GCC unroll 4
    for (int i = 0; i < kHeads; ++i) {
      const __m512i one = _mm512_set1_epi32(static_cast<int>(head[i * steps + s]));
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sum[i][v] = _mm512_dpbusd_epi32(sum[i][v], key[v], one);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kHeads; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) d[i][v] = _mm512_cvtepi32_ps(sum[i][v]);
}

// The same with a scale for every block.
void dot_own(const Query& q, int h, const Keys& k, int steps, __m512 d[kHeads][4]) {
  const int blocks = steps / 8;
  for (int i = 0; i < kHeads; ++i) {
    for (int v = 0; v < 4; ++v) d[i][v] = _mm512_setzero_ps();
    for (int b = 0; b < blocks; ++b) {
      const int at = (h + i) * blocks + b;
      __m512i sum[4];
      for (int v = 0; v < 4; ++v) sum[v] = _mm512_set1_epi32(q.own_base[at]);
      for (int s = 8 * b; s < 8 * b + 8; ++s) {
        const __m512i one = _mm512_set1_epi32(static_cast<int>(q.own[(h + i) * steps + s]));
        for (int v = 0; v < 4; ++v)
          sum[v] = _mm512_dpbusd_epi32(sum[v], _mm512_load_si512(k.own + s * kKeys + 16 * v), one);
      }
      for (int v = 0; v < 4; ++v) {
        const __m512 t =
            _mm512_mul_ps(_mm512_cvtepi32_ps(sum[v]), _mm512_load_ps(k.factor[b] + 16 * v));
        d[i][v] = _mm512_fmadd_ps(t, _mm512_set1_ps(q.factor[at]), d[i][v]);
      }
    }
  }
}

inline __m512bh bf16_of(__m512i x) { return reinterpret_cast<__m512bh>(x); }
inline __m512i bits_of(__m512bh x) { return reinterpret_cast<__m512i>(x); }

// score += bf16(relu(bf16(d)) w) for 32 keys.  Two vectors become one of bf16, and vdpbf16ps
// with one half zero takes them apart again; see in_order() for where each key ends.
inline void add_head(__m512 d0, __m512 d1, std::uint32_t weight, __m512* score) {
  const __m512bh even = bf16_of(_mm512_set1_epi32(static_cast<int>(weight)));
  const __m512bh odd = bf16_of(_mm512_set1_epi32(static_cast<int>(weight << 16)));
  const __m512bh even_one = bf16_of(_mm512_set1_epi32(0x3f80));
  const __m512bh odd_one = bf16_of(_mm512_set1_epi32(0x3f800000));
  const __m512i dot = bits_of(_mm512_cvtne2ps_pbh(d1, d0));
  const __m512bh relu = bf16_of(_mm512_max_epi16(dot, _mm512_setzero_si512()));
  const __m512 p0 = _mm512_dpbf16_ps(_mm512_setzero_ps(), relu, even);
  const __m512 p1 = _mm512_dpbf16_ps(_mm512_setzero_ps(), relu, odd);
  const __m512bh product = _mm512_cvtne2ps_pbh(p1, p0);
  score[0] = _mm512_dpbf16_ps(score[0], product, even_one);
  score[1] = _mm512_dpbf16_ps(score[1], product, odd_one);
}

// Scores of keys 0 .. 15 (half 0) or 16 .. 31 from the two sums of add_head.
inline __m512 in_order(const __m512* score, int half) {
  const __m512i order =
      _mm512_add_epi32(_mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27),
                       _mm512_set1_epi32(4 * half));
  return _mm512_permutex2var_ps(score[0], order, score[1]);
}

void score_tile(const Query& q, int padded, const Keys& k, int steps, int n, float* out) {
  __m512 score[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                     _mm512_setzero_ps()};
  for (int h = 0; h < padded; h += kHeads) {
    __m512 d[kHeads][4];
    if (k.uniform && q.uniform[h / kHeads] != 0)
      dot_common(q, h, k, steps, d);
    else
      dot_own(q, h, k, steps, d);
#pragma GCC unroll 4
    for (int i = 0; i < kHeads; ++i) {
      add_head(d[i][0], d[i][1], q.weight[h + i], score);
      add_head(d[i][2], d[i][3], q.weight[h + i], score + 2);
    }
  }
  for (int v = 0; v < 4 && 16 * v < n; ++v) {
    const __m512 s =
        _mm512_mul_ps(in_order(score + v / 2 * 2, v % 2), _mm512_load_ps(k.scale + 16 * v));
    store_first(out + 16 * v, n - 16 * v < 16 ? n - 16 * v : 16, rounded_bf16({s}));
  }
}

// n keys from `key` on, for every query.
void score_keys(const IndexArgs& a, int padded, const std::uint8_t* key, int n, float* out) {
  const int steps = a.dim / 4;
  const auto at = reinterpret_cast<std::uintptr_t>(
      place_query(a, padded, a.queries).common);  // behind the queries
  auto* common = reinterpret_cast<std::uint32_t*>((at + 63) / 64 * 64);
  std::uint32_t* own = common + steps * kKeys;
  Keys k;
  k.common = common;
  k.own = own;
  k.uniform = true;
  __m512i shift[4][kMaxBlocks];
  for (int v = 0; v < 4; ++v) {
    const int m = n - 16 * v < 1 ? 1 : n - 16 * v < 16 ? n - 16 * v : 16;
    const std::uint8_t* first_key = key + (16 * v < n ? 16 * v : 0) * a.key_bytes;
    read_scales(first_key, a.key_bytes, m, a.dim / 32, a.dim, 16 * v, shift[v], &k);
  }
  bool own_wanted = !k.uniform;
  for (int t = 0; t < a.queries && !own_wanted; ++t) {
    const Query q = place_query(a, padded, t);
    for (int g = 0; g < padded / kHeads; ++g) own_wanted = own_wanted || q.uniform[g] == 0;
  }
  for (int v = 0; v < 4; ++v) {
    const int m = n - 16 * v < 1 ? 1 : n - 16 * v < 16 ? n - 16 * v : 16;
    const std::uint8_t* first_key = key + (16 * v < n ? 16 * v : 0) * a.key_bytes;
    if (k.uniform) decode_keys(first_key, a.key_bytes, m, a.dim, 16 * v, shift[v], common, nullptr);
    if (own_wanted) decode_keys(first_key, a.key_bytes, m, a.dim, 16 * v, shift[v], common, own);
  }
  for (int t = 0; t < a.queries; ++t)
    score_tile(place_query(a, padded, t), padded, k, steps, n, out + t * a.score_stride);
}

}  // namespace

void avx512bf16::index_scores(const IndexArgs& a) {
  if (!a.packed || !a.round_bf16 || a.dim % 128 != 0 || a.dim > 32 * kMaxBlocks)
    return avx512::index_scores(a);
  const int padded = (a.heads + kHeads - 1) / kHeads * kHeads;
  for (int t = 0; t < a.queries; ++t) write_query(a, padded, t);
  for (std::int64_t j = 0; j < a.count;) {
    const std::int64_t block = j / a.block_keys, in_block = j % a.block_keys;
    std::int64_t n = a.count - j < kKeys ? a.count - j : kKeys;
    if (n > a.block_keys - in_block) n = a.block_keys - in_block;
    if (j + n < a.count) {  // the next tile, which may lie elsewhere
      const std::uint8_t* next =
          a.block[(j + n) / a.block_keys] + (j + n) % a.block_keys * a.key_bytes;
      for (int b = 0; b < a.key_bytes; ++b) _mm_prefetch(next + 64 * b, _MM_HINT_T1);
    }
    score_keys(a, padded, a.block[block] + in_block * a.key_bytes, static_cast<int>(n),
               a.score + j);
    j += n;
  }
}

}  // namespace v4i::kernels

#endif
