// Stored index keys as integers for AVX2, 64 in the lanes; see avx2_indexer.cc.  Included after
// avx2_index_query.inl, inside an anonymous namespace.

// Scales of a key's blocks may lie this far apart: 2^9 * 16 blocks * 36864, the largest sum of a
// block, stays below 2^31.
constexpr int kKeySpread = 9;

struct Keys {
  std::uint32_t* bytes;  // [dim / 4][64] four channels: 2 k / scale of their block + 12
  std::uint32_t* times;  // [dim / 32][64] scale of the block over the key's, twice as int16
  float* scale;          // [64]
};

Keys place_keys(const IndexArgs& a, int padded) {
  const auto end = reinterpret_cast<std::uintptr_t>(place_query(a, padded, a.queries).bytes);
  auto* bytes = reinterpret_cast<std::uint32_t*>((end + 31) / 32 * 32);
  std::uint32_t* times = bytes + a.dim / 4 * kKeys;
  return {bytes, times, reinterpret_cast<float*>(times + a.dim / 32 * kKeys)};
}

inline void store_ints(void* p, __m256i v) { _mm256_store_si256(static_cast<__m256i*>(p), v); }

// Scales of 8 keys, n of them real.  A bit for each whose scales are too far apart, or outside of
// plain_scale.
unsigned read_scales(const std::uint8_t* key, std::int64_t stride, int n, int dim, int lane,
                 const Keys& k) {
  const int blocks = dim / 32;
  __m256i code[kMaxBlocks];
  __m256i low = _mm256_set1_epi32(255), high = _mm256_setzero_si256();
  for (int b = 0; b < blocks; b += 4) {
    alignas(32) std::uint32_t four[8];
    for (int i = 0; i < 8; ++i)
      std::memcpy(&four[i], key + (i < n ? i : 0) * stride + dim / 2 + b, 4);
    const __m256i all_four = _mm256_load_si256(reinterpret_cast<const __m256i*>(four));
    for (int j = 0; j < 4; ++j) {
      code[b + j] = _mm256_and_si256(_mm256_srli_epi32(all_four, 8 * j), _mm256_set1_epi32(255));
      low = _mm256_min_epi32(low, code[b + j]);
      high = _mm256_max_epi32(high, code[b + j]);
    }
  }
  for (int b = 0; b < blocks; ++b)
    store_ints(k.times + b * kKeys + lane, _mm256_sllv_epi32(_mm256_set1_epi32(0x10001),
                                                             _mm256_sub_epi32(code[b], low)));
  store_ints(k.scale + lane, _mm256_slli_epi32(low, 23));
  const __m256i spread =
      _mm256_cmpgt_epi32(_mm256_sub_epi32(high, low), _mm256_set1_epi32(kKeySpread));
  const __m256i extreme = _mm256_or_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(27), low),
                                          _mm256_cmpgt_epi32(high, _mm256_set1_epi32(227)));
  const __m256i bad = _mm256_or_si256(spread, extreme);
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(bad)));
}

// r[i][j] <-> r[j][i]
inline void transpose8(__m256i* r) {
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {
      b[i + 2 * j] = _mm256_unpacklo_epi64(a[i + j], a[i + j + 2]);
      b[i + 2 * j + 1] = _mm256_unpackhi_epi64(a[i + j], a[i + j + 2]);
    }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}

// Up to 8 keys into lanes [lane, lane + 8).
void decode_keys(const std::uint8_t* key, std::int64_t stride, int n, int dim, int lane,
                 const Keys& k) {
  const __m256i nibble = _mm256_set1_epi8(15);
  // 2 k + 12 of the codes 0 .. 15
  const __m256i table = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
  for (int w0 = 0; w0 < dim / 8; w0 += 8) {
    __m256i r[8];
    for (int i = 0; i < 8; ++i)
      r[i] = _mm256_loadu_si256(
          reinterpret_cast<const __m256i*>(key + (i < n ? i : 0) * stride + 4 * w0));
    transpose8(r);
    for (int w = 0; w < 8; ++w) {
      std::uint32_t* to = k.bytes + (w0 + w) * 2 * kKeys + lane;
      store_ints(to, _mm256_shuffle_epi8(table, _mm256_and_si256(r[w], nibble)));
      store_ints(to + kKeys, _mm256_shuffle_epi8(
                                 table, _mm256_and_si256(_mm256_srli_epi32(r[w], 4), nibble)));
    }
  }
}
