// Weights to int8 in registers, for the VNNI kernels.  Included inside an anonymous namespace.
//
// vpdpbusd multiplies unsigned by signed bytes, so a weight q is held as 128 + q and 128 times the
// sum of x is taken off (int8_linear.inl).  A code becomes its byte by a table for its `drop`: the
// exponent E of the row block's greatest weight less that of the code's scale; E - 6 is the unit.
// 128 columns become two registers:
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

// The tables of a block of up to 512 columns of a row, and its E.
template <Format kFormat>
struct BlockCodes;

// ---- fp8: one table of 128 bytes for each 128 columns

template <>
struct BlockCodes<Format::kFp8> {
  const std::uint8_t* table[4];
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

inline BlockCodes<Format::kFp8> block_codes_fp8(const RowReader& row, std::int64_t k,
                                                int quarters) {
  const __m512i seven = _mm512_set1_epi8(0x7f);
  __m512i most[4] = {};
  for (int l = 0; l < quarters; ++l)
    most[l] = _mm512_max_epu8(_mm512_and_si512(load64(row.data + k + 128 * l), seven),
                              _mm512_and_si512(load64(row.data + k + 128 * l + 64), seven));
  // One 32-bit lane for each 128 columns; exponents are held as 127 + 7 more.
  const __m128i code = _mm_cvtepu8_epi32(lane_bytes(lane_max(fold_max(most))));
  const __m128i scale = _mm_cvtepu8_epi32(
      _mm_maskz_loadu_epi8(static_cast<__mmask16>((1 << quarters) - 1), row.scale + k / 128));
  const __m128i exponent =
      _mm_add_epi32(scale, _mm_max_epi32(_mm_srli_epi32(code, 3), _mm_set1_epi32(1)));
  const __mmask8 any = _mm_test_epi32_mask(code, code);
  __m128i top = _mm_mask_mov_epi32(_mm_set1_epi32(-1000), any, exponent);
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4e));
  top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xb1));
  __m128i drop = _mm_sub_epi32(_mm_sub_epi32(top, scale), _mm_set1_epi32(7));
  drop = _mm_min_epi32(_mm_max_epi32(drop, _mm_set1_epi32(kFp8Low)), _mm_set1_epi32(kFp8High));
  alignas(16) std::int32_t at[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(at), _mm_sub_epi32(drop, _mm_set1_epi32(kFp8Low)));
  BlockCodes<Format::kFp8> b{{}, _mm_cvtsi128_si32(top) - 134};
  for (int l = 0; l < 4; ++l) b.table[l] = kInt8.fp8[at[l]];
  return b;
}

inline __m512i int8_fp8(__m512i v, __m512i low, __m512i high) {
  const __m512i q = _mm512_permutex2var_epi8(low, v, high);
  return _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(v), _mm512_setzero_si512(), q);
}

// ---- fp4: one table of 16 bytes for each 32 columns; 128-bit lane l of 64 bytes is block l

template <>
struct BlockCodes<Format::kFp4> {
  bool near;      // all scales within 2^3: the four tables of one register serve
  __m512i first;  // near: twice the greatest scale, and 0 or 1, in 64-bit lanes
  int exponent;
};

// The least byte, in a vector whose other bytes are 0.
inline __m128i least_byte(__m128i v) {
  return _mm_and_si128(_mm_minpos_epu16(_mm_min_epu8(v, _mm_srli_epi16(v, 8))),
                       _mm_cvtsi32_si128(255));
}

// E of a block whose scales lie far apart, from its codes.
inline int exponent_fp4(const RowReader& row, std::int64_t k, int quarters) {
  constexpr int kExponent[8] = {-1000, -1, 0, 0, 1, 1, 2, 2};
  const __m512i seven = _mm512_set1_epi8(7);
  int most = -1000;
  for (int l = 0; l < quarters; ++l) {
    const __m512i v = load64(row.data + k / 2 + 64 * l);
    const int codes = _mm_cvtsi128_si32(lane_bytes(lane_max(_mm512_max_epu8(
        _mm512_and_si512(v, seven), _mm512_and_si512(_mm512_srli_epi16(v, 4), seven)))));
    for (int i = 0; i < 4; ++i) {
      const int e = row.scale[k / 32 + 4 * l + i] - 127 + kExponent[codes >> 8 * i & 7];
      if (e > most) most = e;
    }
  }
  return most;
}

inline BlockCodes<Format::kFp4> block_codes_fp4(const RowReader& row, std::int64_t k,
                                                int quarters) {
  const std::uint8_t* s = row.scale + k / 32;
  const __m128i scales = _mm_mask_loadu_epi8(_mm_set1_epi8(static_cast<char>(s[0])),
                                             static_cast<__mmask16>((1u << 4 * quarters) - 1), s);
  const __m128i least = least_byte(scales);  // most: of 255 - scale
  const __m128i most = least_byte(_mm_xor_si128(scales, _mm_set1_epi8(-1)));
  const int top = 255 - _mm_cvtsi128_si32(most);
  // With the greatest scale's own top, every code of a near block is a whole number of units.
  if (top - _mm_cvtsi128_si32(least) <= 3) {
    const __m512i two_tops = _mm512_setr_epi64(510, 511, 510, 511, 510, 511, 510, 511);
    const __m512i rest = _mm512_broadcastq_epi64(_mm_add_epi64(most, most));
    return {true, _mm512_sub_epi64(two_tops, rest), top - 127 + 2};
  }
  return {false, _mm512_setzero_si512(), exponent_fp4(row, k, quarters)};
}

inline __m512i tables_fp4(const BlockCodes<Format::kFp4>& b, const std::uint8_t* s) {
  if (b.near) {
    const char no = -128;
    const __m512i to_lanes =
        _mm512_set_epi8(no, no, no, no, no, no, no, 3, no, no, no, no, no, no, no, 3,  //
                        no, no, no, no, no, no, no, 2, no, no, no, no, no, no, no, 2,  //
                        no, no, no, no, no, no, no, 1, no, no, no, no, no, no, no, 1,  //
                        no, no, no, no, no, no, no, 0, no, no, no, no, no, no, no, 0);
    const __m512i scale = _mm512_shuffle_epi8(_mm512_broadcastd_epi32(_mm_loadu_si32(s)), to_lanes);
    const __m512i at = _mm512_sub_epi64(b.first, _mm512_add_epi64(scale, scale));
    return _mm512_permutexvar_epi64(at, _mm512_loadu_si512(kInt8.fp4[2 - kFp4Low]));
  }
  const auto table = [&](int i) {
    const int row = table_row(b.exponent - (s[i] - 127), kFp4Low, kFp4High);
    return _mm_load_si128(reinterpret_cast<const __m128i*>(kInt8.fp4[row]));
  };
  __m512i t = _mm512_castsi128_si512(table(0));
  t = _mm512_inserti32x4(t, table(1), 1);
  t = _mm512_inserti32x4(t, table(2), 2);
  return _mm512_inserti32x4(t, table(3), 3);
}

// ---- either

template <Format kFormat>
inline BlockCodes<kFormat> block_codes(const RowReader& row, std::int64_t k, int quarters) {
  if constexpr (kFormat == Format::kFp8) return block_codes_fp8(row, k, quarters);
  if constexpr (kFormat == Format::kFp4) return block_codes_fp4(row, k, quarters);
}

// The unit of a block whose greatest weight has exponent E.
inline float unit_of(int exponent) { return exponent < -500 ? 0.0f : power_of_two(exponent - 6); }

// Columns [k + 128 l, k + 128 l + 128); bytes `ahead` of them are asked for.
template <Format kFormat>
inline void quarter(const RowReader& row, const BlockCodes<kFormat>& b, std::int64_t k, int l,
                    std::int64_t ahead, __m512i (&w)[2]) {
  if constexpr (kFormat == Format::kFp8) {
    const std::uint8_t* at = row.data + k + 128 * l;
    const __m512i low = load64(b.table[l]), high = load64(b.table[l] + 64);
    for (int j = 0; j < 2; ++j) {
      prefetch(at + 64 * j, ahead);
      w[j] = int8_fp8(load64(at + 64 * j), low, high);
    }
  } else {
    const std::uint8_t* at = row.data + k / 2 + 64 * l;
    prefetch(at, ahead);
    const __m512i v = load64(at), fifteen = _mm512_set1_epi8(15);
    const __m512i t = tables_fp4(b, row.scale + k / 32 + 4 * l);
    w[0] = _mm512_shuffle_epi8(t, _mm512_and_si512(v, fifteen));
    w[1] = _mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srli_epi16(v, 4), fifteen));
  }
}
