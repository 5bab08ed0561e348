// Stored index keys as integers, 64 in the lanes; see avx512bf16_indexer.cc.  Included after
// avx512bf16_index_query.inl, inside an anonymous namespace.

struct Keys {
  const std::uint32_t* common;  // [dim / 4][64]
  const std::uint32_t* own;     // valid unless uniform
  bool uniform;
  alignas(64) float factor[kMaxBlocks][kKeys];  // scale of a block over the key's; unless uniform
  alignas(64) float scale[kKeys];
};

// Scales of 16 keys: shift[b] for a common scale, and the factors of the other way.
void read_scales(const std::uint8_t* key, std::int64_t stride, int n, int blocks, int dim, int lane,
                 __m512i* shift, Keys* k) {
  __m512i code[kMaxBlocks];
  __m512i low = _mm512_set1_epi32(255), high = _mm512_setzero_si512();
  for (int b = 0; b < blocks; b += 4) {
    alignas(64) std::uint32_t four[16];
    for (int i = 0; i < 16; ++i)
      std::memcpy(&four[i], key + (i < n ? i : 0) * stride + dim / 2 + b, 4);
    const __m512i all_four = _mm512_load_si512(four);
    for (int j = 0; j < 4; ++j) {
      const __m512i c = _mm512_and_si512(_mm512_srli_epi32(all_four, static_cast<unsigned>(8 * j)),
                                         _mm512_set1_epi32(255));
      code[b + j] = c;
      low = _mm512_min_epi32(low, c);
      high = _mm512_max_epi32(high, c);
    }
  }
  const __m512i spread = _mm512_sub_epi32(high, low);
  const bool uniform = _mm512_cmpgt_epi32_mask(spread, _mm512_set1_epi32(kSpread)) == 0;
  const __m512i scale = uniform ? low : high;
  k->uniform = k->uniform && uniform;
  for (int b = 0; b < blocks; ++b) {
    shift[b] = uniform ? _mm512_sub_epi32(code[b], low) : _mm512_setzero_si512();
    const __m512i e =
        _mm512_max_epi32(_mm512_sub_epi32(_mm512_add_epi32(code[b], _mm512_set1_epi32(127)), scale),
                         _mm512_setzero_si512());
    _mm512_store_si512(k->factor[b] + lane, _mm512_slli_epi32(e, 23));
  }
  _mm512_store_si512(k->scale + lane, _mm512_slli_epi32(scale, 23));
}

// 2 k + 12 of the codes 0 .. 15.
inline __m512i key_table() {
  return _mm512_broadcast_i32x4(
      _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
}

// Up to 16 keys into lanes [lane, lane + 16); `own` null: only the common scale is wanted.
void decode_keys(const std::uint8_t* key, std::int64_t stride, int n, int dim, int lane,
                 const __m512i* shift, std::uint32_t* common, std::uint32_t* own) {
  const __m512i nibble = _mm512_set1_epi8(15), table = key_table();
  for (int w0 = 0; w0 < dim / 8; w0 += 16) {
    __m512i r[16];
    for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(key + (i < n ? i : 0) * stride + 4 * w0);
    transpose16(r);
    for (int w = 0; w < 16; ++w) {
      const __m512i s = shift[(w0 + w) / 4];
      // (2 k + 12) << s is a byte and does not spill; kCommon - (12 << s) completes the offset.
      const __m512i rest =
          _mm512_sub_epi8(_mm512_set1_epi8(kCommon), _mm512_sllv_epi32(_mm512_set1_epi8(kOwn), s));
      const __m512i a = _mm512_shuffle_epi8(table, _mm512_and_si512(r[w], nibble));
      const __m512i b =
          _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi32(r[w], 4), nibble));
      const int at = (w0 + w) * 2 * kKeys + lane;
      if (own != nullptr) {
        _mm512_store_si512(own + at, a);
        _mm512_store_si512(own + at + kKeys, b);
        continue;
      }
      _mm512_store_si512(common + at, _mm512_add_epi8(_mm512_sllv_epi32(a, s), rest));
      _mm512_store_si512(common + at + kKeys, _mm512_add_epi8(_mm512_sllv_epi32(b, s), rest));
    }
  }
}
