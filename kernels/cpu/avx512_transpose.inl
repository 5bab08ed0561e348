// r[i] lane j <-> r[j] lane i, for 16 x 16 words of 32 bits.  Included inside an anonymous
// namespace.
inline void transpose16(__m512i r[16]) {
  __m512i a[16], b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // b[4 i + k]: column 4 lane + k of rows 4 i ..
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const __m512i even0 = _mm512_shuffle_i32x4(b[k], b[4 + k], 0x88);
    const __m512i even1 = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0x88);
    const __m512i odd0 = _mm512_shuffle_i32x4(b[k], b[4 + k], 0xdd);
    const __m512i odd1 = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0xdd);
    r[k] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    r[4 + k] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    r[8 + k] = _mm512_shuffle_i32x4(even0, even1, 0xdd);
    r[12 + k] = _mm512_shuffle_i32x4(odd0, odd1, 0xdd);
  }
}
