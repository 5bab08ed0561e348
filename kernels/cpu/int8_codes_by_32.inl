// fp8 codes with scales of 32 columns to int8; see int8_codes.inl.
//
// An octave is eight codes: under a scale that is 2^d smaller a code is worth what the code 8 d
// below is worth under the greatest.  So one table serves a block of columns, where its greatest
// weight is twice the greatest scale or more: what would fall among the subnormal codes, whose
// steps are others, is less than half a unit then, as they are.  Such a block is near.

template <>
struct BlockCodes<Kind::kFp8By32> {
  bool near;
  int exponent;
  const std::uint8_t* table;  // near: under the greatest scale
  __m512i below;              // near: 8 d of each 32 columns in its bytes
};

struct PairBytes {
  alignas(64) std::uint8_t byte[2 * kStrips][64];
};

// Byte 2 p to the first 32 bytes, byte 2 p + 1 to the others.
constexpr PairBytes make_pair_bytes() {
  PairBytes b{};
  for (int p = 0; p < 2 * kStrips; ++p)
    for (int i = 0; i < 64; ++i) b.byte[p][i] = static_cast<std::uint8_t>(2 * p + i / 32);
  return b;
}
constexpr PairBytes kPairBytes = make_pair_bytes();

// The codes v of columns 64 p and on of a block, without signs, moved to the greatest scale.
inline __m512i moved_codes(__m512i v, __m512i below, int p) {
  return _mm512_subs_epu8(_mm512_and_si512(v, _mm512_set1_epi8(0x7f)),
                          _mm512_permutexvar_epi8(load64(kPairBytes.byte[p]), below));
}

// E of a block that is not near, from its codes.
[[gnu::noinline]] int exponent_by_32(const RowReader& row, std::int64_t k, int strips) {
  int most = -1000;
  for (int b = 0; b < 4 * strips; ++b) {
    int code = 0;
    for (int i = 0; i < 32; ++i) {
      const int c = row.data[k + 32 * b + i] & 0x7f;
      code = c > code ? c : code;
    }
    const int e = row.scale[k / 32 + b] - 127 - 7 + (code < 8 ? 1 : code >> 3);
    if (code > 0 && e > most) most = e;
  }
  return most;
}

inline BlockCodes<Kind::kFp8By32> block_codes_by_32(const RowReader& row, std::int64_t k,
                                                    int strips) {
  static_assert(kInt8Block == 1024);
  const auto some = static_cast<__mmask32>((std::uint64_t{1} << 4 * strips) - 1);
  const __m256i rest = _mm256_xor_si256(_mm256_maskz_loadu_epi8(some, row.scale + k / 32),
                                        _mm256_set1_epi8(-1));  // 255 - scale
  const __m128i least =
      least_byte(_mm_min_epu8(_mm256_castsi256_si128(rest), _mm256_extracti128_si256(rest, 1)));
  // From 16 octaves on nothing is left of a code.
  const __m256i octaves = _mm256_min_epu8(_mm256_sub_epi8(rest, _mm256_broadcastsi128_si256(least)),
                                          _mm256_set1_epi8(16));
  const __m512i below = _mm512_castsi256_si512(_mm256_slli_epi16(octaves, 3));
  __m512i most = _mm512_setzero_si512();
  for (int p = 0; p < 2 * strips; ++p)
    most = _mm512_max_epu8(most, moved_codes(load64(row.data + k + 64 * p), below, p));
  most = _mm512_max_epu8(most, _mm512_shuffle_i64x2(most, most, 0x4e));
  most = lane_max(_mm512_max_epu8(most, _mm512_shuffle_i64x2(most, most, 0xb1)));
  const int drop = ((_mm_cvtsi128_si32(_mm512_castsi512_si128(most)) & 255) >> 3) - 7;
  if (drop < 1) return {false, exponent_by_32(row, k, strips), nullptr, below};
  return {true, 255 - (_mm_cvtsi128_si32(least) & 255) - 127 + drop, kInt8.fp8[drop - kFp8Low],
          below};
}

inline void near_strip_fp8(const std::uint8_t* at, const BlockCodes<Kind::kFp8By32>& b, int l,
                           __m512i (&w)[2]) {
  const __m512i low = load64(b.table), high = load64(b.table + 64);
  for (int j = 0; j < 2; ++j) {
    const __m512i v = load64(at + 64 * j);
    const __m512i code = moved_codes(v, b.below, 2 * l + j);
    w[j] = with_signs(_mm512_permutex2var_epi8(low, code, high), v);
  }
}

// A strip with a table for each 32 columns.
inline void int8_far_fp8(const std::uint8_t* at, int exponent, const std::uint8_t* scale,
                         __m512i (&w)[2]) {
  const auto looked_up = [&](__m512i v, int i) {
    const std::uint8_t* t = kInt8.fp8[table_row(exponent - (scale[i] - 127), kFp8Low, kFp8High)];
    return int8_fp8(v, load64(t), load64(t + 64));
  };
  for (int j = 0; j < 2; ++j) {
    const __m512i v = load64(at + 64 * j);
    w[j] =
        _mm512_mask_mov_epi8(looked_up(v, 2 * j), ~std::uint64_t{0} << 32, looked_up(v, 2 * j + 1));
  }
}
