// fp4 codes to int8; see int8_codes.inl.

// One table of 16 bytes for each 32 columns; 128-bit lane l of 64 bytes is block l of a strip.

template <>
struct BlockCodes<Kind::kFp4> {
  bool near;  // all scales within 2^3: 64 bytes hold all tables
  int exponent;
  __m512i table[kStrips / 4];  // near: 16 times the table of each 32 columns, in all four lanes
};

// E of a block whose scales lie far apart, from its codes.
[[gnu::noinline]] int exponent_fp4(const RowReader& row, std::int64_t k, int strips) {
  constexpr int kExponent[8] = {-1000, -1, 0, 0, 1, 1, 2, 2};
  const __m512i seven = _mm512_set1_epi8(7);
  int most = -1000;
  for (int l = 0; l < strips; ++l) {
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

inline BlockCodes<Kind::kFp4> block_codes_fp4(const RowReader& row, std::int64_t k, int strips) {
  const std::uint8_t* s = row.scale + k / 32;
  const __m128i some = _mm_set1_epi8(static_cast<char>(s[0])), ones = _mm_set1_epi8(-1);
  __m128i rest[kStrips / 4], least = ones, all = _mm_setzero_si128();  // rest: 255 - scale
  for (int h = 0; h < kStrips / 4; ++h) {
    const int n = strips - 4 * h < 0 ? 0 : strips - 4 * h < 4 ? strips - 4 * h : 4;
    const __m128i scale =
        n == 4 ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(s + 16 * h))
               : _mm_mask_loadu_epi8(some, static_cast<__mmask16>((1u << 4 * n) - 1), s + 16 * h);
    rest[h] = _mm_xor_si128(scale, ones);
    least = _mm_min_epu8(least, rest[h]);
  }
  // From here to the tables nothing leaves the vectors, which would take longer than all the rest.
  least = least_byte(least);
  for (int h = 0; h < kStrips / 4; ++h) {
    rest[h] = _mm_sub_epi8(rest[h], least);  // below the greatest scale
    all = _mm_or_si128(all, rest[h]);
  }
  if (_mm_testz_si128(all, _mm_set1_epi8(char(0xfc))) == 0)
    return {false, exponent_fp4(row, k, strips), {}};
  // With the greatest scale's own top, every code of a near block is a whole number of units.
  BlockCodes<Kind::kFp4> b{true, 255 - (_mm_cvtsi128_si32(least) & 255) - 127 + 2, {}};
  for (int h = 0; h < kStrips / 4; ++h)  // at most 3: no bit leaves its byte
    b.table[h] = _mm512_broadcast_i32x4(_mm_slli_epi16(rest[h], 4));
  return b;
}

struct LaneBytes {
  alignas(64) std::uint8_t byte[4][64];
};

// Byte 4 l + j of a lane to all bytes of lane j.
constexpr LaneBytes make_lane_bytes() {
  LaneBytes b{};
  for (int l = 0; l < 4; ++l)
    for (int i = 0; i < 64; ++i) b.byte[l][i] = static_cast<std::uint8_t>(4 * l + i / 16);
  return b;
}
constexpr LaneBytes kLaneBytes = make_lane_bytes();

inline void int8_near(__m512i v, __m512i table, __m512i (&w)[2]) {
  const __m512i tables = load64(kInt8.fp4[2 - kFp4Low]), fifteen = _mm512_set1_epi8(15);
  w[0] = _mm512_permutexvar_epi8(_mm512_ternarylogic_epi32(table, v, fifteen, 0xf8), tables);
  w[1] = _mm512_permutexvar_epi8(
      _mm512_ternarylogic_epi32(table, _mm512_srli_epi16(v, 4), fifteen, 0xf8), tables);
}

inline void int8_far_fp4(__m512i v, int exponent, const std::uint8_t* s, __m512i (&w)[2]) {
  const auto table = [&](int i) {
    const int row = table_row(exponent - (s[i] - 127), kFp4Low, kFp4High);
    return _mm_load_si128(reinterpret_cast<const __m128i*>(kInt8.fp4[row]));
  };
  const __m512i fifteen = _mm512_set1_epi8(15);
  __m512i t = _mm512_castsi128_si512(table(0));
  t = _mm512_inserti32x4(t, table(1), 1);
  t = _mm512_inserti32x4(t, table(2), 2);
  t = _mm512_inserti32x4(t, table(3), 3);
  w[0] = _mm512_shuffle_epi8(t, _mm512_and_si512(v, fifteen));
  w[1] = _mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srli_epi16(v, 4), fifteen));
}
