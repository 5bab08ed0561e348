// Weights to int8 in registers, for the VNNI kernels.  Included inside an anonymous namespace.
//
// vpdpbusd multiplies unsigned by signed bytes, so a weight q is held as 128 + q and 128 times the
// sum of x is taken off (int8_gemv.inl).  A code becomes its byte by a table for its `drop`: the
// exponent E of the row block's greatest weight less that of the code's scale; E - 6 is the unit.
// 128 columns, a strip, become two registers:
//   fp8  column i of register j is 64 j + i
//   fp4  column i of register j is 2 i + j

// n / 2^shift to the nearest, ties to even; n >= 0.
constexpr int scaled(int n, int shift) {
  if (shift <= 0) return n << -shift;
  if (shift > 20) return 0;
  const int half = 1 << (shift - 1), q = n >> shift, rest = n & ((1 << shift) - 1);
  return q + (rest > half || (rest == half && (q & 1) != 0));
}

constexpr std::uint8_t held(int magnitude, bool negative) {
  const int q = magnitude > 127 ? 127 : magnitude;  // never more where the table is used
  return static_cast<std::uint8_t>(negative ? 128 - q : 128 + q);
}

constexpr int kFp4Low = -1, kFp4High = 10, kFp8Low = -6, kFp8High = 16;  // drops; beyond: all zero

struct Int8Tables {
  alignas(64) std::uint8_t fp4[kFp4High - kFp4Low + 1][16];
  alignas(64) std::uint8_t fp8[kFp8High - kFp8Low + 1][128];  // without sign
};

constexpr Int8Tables make_int8_tables() {
  constexpr int kTwice[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  Int8Tables t{};
  for (int d = kFp4Low; d <= kFp4High; ++d)
    for (int c = 0; c < 16; ++c) t.fp4[d - kFp4Low][c] = held(scaled(kTwice[c % 8], d - 5), c >= 8);
  for (int c = 0; c < 128; ++c) {
    const int e = c >> 3, mantissa = e == 0 ? c & 7 : 8 + (c & 7), from = (e == 0 ? 1 : e) - 10;
    for (int d = kFp8Low; d <= kFp8High; ++d)
      t.fp8[d - kFp8Low][c] = held(scaled(mantissa, d - 6 - from), false);
  }
  return t;
}
constexpr Int8Tables kInt8 = make_int8_tables();

inline int table_row(int drop, int low, int high) {
  return (drop < low ? low : drop > high ? high : drop) - low;
}

constexpr int kStrips = kInt8Block / 128;

// The least byte of v, in all bytes.
inline __m128i least_byte(__m128i v) {
  return _mm_broadcastb_epi8(_mm_minpos_epu16(_mm_min_epu8(v, _mm_srli_epi16(v, 8))));
}

// The tables of a block of columns of a row, and its E.
template <Kind kKind>
struct BlockCodes;

// ---- fp8: one table of 128 bytes for each strip

template <>
struct BlockCodes<Kind::kFp8> {
  const std::uint8_t* table[kStrips];
  int exponent;
};

// Lane l: the greatest bytes of v[l], folded to 16.
inline __m512i fold_max(const __m512i (&v)[4]) {
  const auto pair = [](__m512i a, __m512i b, auto low, auto high) {
    return _mm512_max_epu8(low(a, b), high(a, b));
  };
  const auto even = [](__m512i a, __m512i b) { return _mm512_shuffle_i64x2(a, b, 0x88); };
  const auto odd = [](__m512i a, __m512i b) { return _mm512_shuffle_i64x2(a, b, 0xdd); };
  return pair(pair(v[0], v[1], even, odd), pair(v[2], v[3], even, odd), even, odd);
}

// The greatest byte of each 128-bit lane, in its byte 0.
inline __m512i lane_max(__m512i m) {
  m = _mm512_max_epu8(m, _mm512_bsrli_epi128(m, 8));
  m = _mm512_max_epu8(m, _mm512_bsrli_epi128(m, 4));
  m = _mm512_max_epu8(m, _mm512_bsrli_epi128(m, 2));
  return _mm512_max_epu8(m, _mm512_bsrli_epi128(m, 1));
}

// Byte 0 of the four lanes.
inline __m128i lane_bytes(__m512i m) {
  const __m512i at = _mm512_castsi128_si512(_mm_cvtsi32_si128(0x30201000));
  return _mm512_castsi512_si128(_mm512_permutexvar_epi8(at, m));
}

// Exponents of the greatest weights of up to four strips, one in each 32-bit lane, held as 127 + 7
// more; -1000 where all are zero.
inline __m128i exponents_fp8(const std::uint8_t* codes, __m128i scale, int strips) {
  const __m512i seven = _mm512_set1_epi8(0x7f);
  __m512i most[4] = {};
  for (int l = 0; l < strips; ++l)
    most[l] = _mm512_max_epu8(_mm512_and_si512(load64(codes + 128 * l), seven),
                              _mm512_and_si512(load64(codes + 128 * l + 64), seven));
  const __m128i code = _mm_cvtepu8_epi32(lane_bytes(lane_max(fold_max(most))));
  const __m128i exponent =
      _mm_add_epi32(scale, _mm_max_epi32(_mm_srli_epi32(code, 3), _mm_set1_epi32(1)));
  return _mm_mask_mov_epi32(_mm_set1_epi32(-1000), _mm_test_epi32_mask(code, code), exponent);
}

inline BlockCodes<Kind::kFp8> block_codes_fp8(const RowReader& row, std::int64_t k, int strips) {
  __m128i scale[kStrips / 4], top = _mm_set1_epi32(-1000);
  for (int h = 0; h < kStrips / 4; ++h) {
    const int n = strips - 4 * h < 0 ? 0 : strips - 4 * h < 4 ? strips - 4 * h : 4;
    scale[h] = _mm_cvtepu8_epi32(
        _mm_maskz_loadu_epi8(static_cast<__mmask16>((1 << n) - 1), row.scale + k / 128 + 4 * h));
    top = _mm_max_epi32(top, exponents_fp8(row.data + k + 512 * h, scale[h], n));
  }
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4e));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xb1));
  BlockCodes<Kind::kFp8> b{{}, _mm_cvtsi128_si32(top) - 134};
  alignas(16) std::int32_t at[kStrips];
  for (int h = 0; h < kStrips / 4; ++h) {
    __m128i drop = _mm_sub_epi32(_mm_sub_epi32(top, scale[h]), _mm_set1_epi32(7));
    drop = _mm_min_epi32(_mm_max_epi32(drop, _mm_set1_epi32(kFp8Low)), _mm_set1_epi32(kFp8High));
    _mm_store_si128(reinterpret_cast<__m128i*>(at + 4 * h),
                    _mm_sub_epi32(drop, _mm_set1_epi32(kFp8Low)));
  }
  for (int l = 0; l < kStrips; ++l) b.table[l] = kInt8.fp8[at[l]];
  return b;
}

// q with the signs of v; 128 + q becomes 128 - q.
inline __m512i with_signs(__m512i q, __m512i v) {
  return _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(v), _mm512_setzero_si512(), q);
}

inline __m512i int8_fp8(__m512i v, __m512i low, __m512i high) {
  return with_signs(_mm512_permutex2var_epi8(low, v, high), v);
}
