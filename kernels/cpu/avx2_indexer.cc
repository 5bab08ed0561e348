// AVX2 + FMA: indexer.
//
// fp4 values are small integers times a power of two, so a dot product is integers: keys lie in
// the lanes (64 of them a tile), four heads at a time.  vpmaddubsw multiplies bytes; the sums of a
// block of 32 channels fit in 16 bits, and vpmaddwd brings them to the scale of their key while it
// adds them up in 32 bits.  All of it is exact, hence has the bits of every other kernel.  Rounding
// to bf16 does not mind powers of two, so a head's scale is multiplied into its weight and a key's
// in at the end.  Keys and queries whose scales lie too far apart, nearly none, are computed in
// float32.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cmath>
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
#include "kernels/cpu/avx2_index_query.inl"
#include "kernels/cpu/avx2_index_keys.inl"
// clang-format on

constexpr int kVectors = 2;  // of 8 keys: with four heads 8 sums in registers

inline __m256i load_ints(const void* p) {
  return _mm256_load_si256(static_cast<const __m256i*>(p));
}
inline __m256i repeat(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }

// sum + x, now: compilers like to form all products of a loop before they add any, and run out of
// registers.
inline __m256i add_now(__m256i sum, __m256i x) {
  sum = _mm256_add_epi16(sum, x);
  asm("" : "+x"(sum));
  return sum;
}

// dot[i][v] of 16 keys from `lane` on and heads h .. h + 3.
inline void dot_tile(const Query& q, int h, const Keys& k, int lane, int blocks,
                     __m256i dot[kHeads][kVectors]) {
  for (int b = 0; b < blocks; ++b) {
    const std::uint32_t* keys = k.bytes + 8 * b * kKeys + lane;
    const std::uint32_t* heads = q.bytes + (h * blocks + b) * 8;
    __m256i sum[kHeads][kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kHeads; ++i) sum[i][0] = sum[i][1] = repeat(q.base[(h + i) * blocks + b]);
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) {
      const __m256i key0 = load_ints(keys + s * kKeys), key1 = load_ints(keys + s * kKeys + 8);
#pragma GCC unroll 4
      for (int i = 0; i < kHeads; ++i) {
        const __m256i one = repeat(heads[i * 8 * blocks + s]);
        sum[i][0] = add_now(sum[i][0], _mm256_maddubs_epi16(key0, one));
        sum[i][1] = add_now(sum[i][1], _mm256_maddubs_epi16(key1, one));
      }
    }
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const __m256i times = load_ints(k.times + b * kKeys + lane + 8 * v);
#pragma GCC unroll 4
      for (int i = 0; i < kHeads; ++i)
        dot[i][v] = _mm256_add_epi32(dot[i][v], _mm256_madd_epi16(sum[i][v], times));
    }
  }
}

// The first n of 64 keys.
void score_tile(const Query& q, int padded, const Keys& k, int blocks, int n, float* out) {
  for (int lane = 0; lane < n; lane += 8 * kVectors) {
    F16 score = zero();
    for (int h = 0; h < padded; h += kHeads) {
      __m256i dot[kHeads][kVectors] = {};
      dot_tile(q, h, k, lane, blocks, dot);
#pragma GCC unroll 4
      for (int i = 0; i < kHeads; ++i) {
        const F16 d = {_mm256_cvtepi32_ps(dot[i][0]), _mm256_cvtepi32_ps(dot[i][1])};
        const F16 product = mul(maximum(rounded_bf16(d), zero()), all(q.weight[h + i]));
        score = add(score, rounded_bf16(product));
      }
    }
    const F16 s = rounded_bf16(mul(score, load(k.scale + lane)));
    store_first(out + lane, n - lane < 16 ? n - lane : 16, s);
  }
}

// A part of `a` in float32: n keys from `key` on, and one query or all.
void score_as_floats(IndexArgs a, const std::uint8_t* key, int n, std::int64_t at, int first,
                     int queries) {
  a.block = &key;
  a.block_keys = a.count = n;
  a.q += std::int64_t{first} * a.heads * a.dim;
  a.w += std::int64_t{first} * a.heads;
  a.score += first * a.score_stride + at;
  a.queries = queries;
  index_scores(a);
}

// n keys from `key` on, whose scores begin at `at`.
void score_keys(const IndexArgs& a, int padded, const bool* whole, const std::uint8_t* key, int n,
                std::int64_t at) {
  const Keys k = place_keys(a, padded);
  std::uint64_t far = 0;  // the keys that integers are not for
  for (int lane = 0; lane < (n + 15) / 16 * 16; lane += 8) {
    const int real = lane < n ? n - lane : 1;
    const std::uint8_t* first_key = key + (lane < n ? lane : 0) * a.key_bytes;
    far |= std::uint64_t{read_scales(first_key, a.key_bytes, real, a.dim, lane, k)} << lane;
    decode_keys(first_key, a.key_bytes, real, a.dim, lane, k);
  }
  for (int t = 0; t < a.queries; ++t) {
    if (whole[t])
      score_tile(place_query(a, padded, t), padded, k, a.dim / 32, n,
                 a.score + t * a.score_stride + at);
    else
      score_as_floats(a, key, n, at, t, 1);
  }
  for (int i = 0; i < n; ++i)  // each alone: no key's bits depend on those beside it
    if ((far >> i & 1) != 0) score_as_floats(a, key + i * a.key_bytes, 1, at + i, 0, a.queries);
}

}  // namespace

void avx2::index_scores(const IndexArgs& a) {
  constexpr int kMaxQueries = 64;
  if (!a.packed || !a.round_bf16 || a.dim % 128 != 0 || a.dim > 32 * kMaxBlocks ||
      a.queries > kMaxQueries)
    return kernels::index_scores(a);
  const int padded = (a.heads + kHeads - 1) / kHeads * kHeads;
  bool whole[kMaxQueries];
  for (int t = 0; t < a.queries; ++t) whole[t] = write_query(a, padded, t);
  for (std::int64_t j = 0; j < a.count;) {
    const std::int64_t in_block = j % a.block_keys;
    std::int64_t n = a.count - j < kKeys ? a.count - j : kKeys;
    if (n > a.block_keys - in_block) n = a.block_keys - in_block;
    score_keys(a, padded, whole, a.block[j / a.block_keys] + in_block * a.key_bytes,
               static_cast<int>(n), j);
    j += n;
  }
}

}  // namespace v4i::kernels

#endif
