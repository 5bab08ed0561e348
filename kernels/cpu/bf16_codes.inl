// Weights to bf16 in registers, for the AVX-512-BF16 kernels.  Included after bf16_of_fp8.inl,
// inside an anonymous namespace: nothing here has linkage.
//
// vdpbf16ps reads bf16 subnormals as zero, so fp8 codes are looked up, never shifted into place.
// 128 columns become four registers of 32 words, in the order that decoding leaves behind:
//   natural  word i of register j is column 32 j + i           bf16
//   halves   columns of a 16-column group alternate between    fp8
//            registers 0 and 1 (2 and 3) by eights
//   quarters word i of register j is column 32 (i / 8) +       fp8 with scales of 32 columns
//            8 j + i % 8
//   nibbles  word i of register j is column 4 i + j            fp4
// x is packed in the same order, so that every product meets its partner.  In quarters and nibbles
// a 128-bit lane of every register is of the same 32 columns.

// What a product is made for.
enum class Kind { kBF16, kFp8, kFp8By32, kFp4 };

constexpr bool is_fp8(Kind k) { return k == Kind::kFp8 || k == Kind::kFp8By32; }

// Bytes of 128 columns.
constexpr int block_bytes(Kind k) { return k == Kind::kFp4 ? 64 : is_fp8(k) ? 128 : 256; }

struct Words {
  __m512i v[4];
};

// ---- fp4 ------------------------------------------------------------------------

// bf16 words of the sixteen codes; `lift` is added to the words that are not zero.
// vpermw looks at five bits of a word: a nibble and one bit of the next.
inline __m512i fp4_table(int lift) {
  const __m256i t = _mm256_setr_epi16(0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0,
                                      short(0xbf00), short(0xbf80), short(0xbfc0), short(0xc000),
                                      short(0xc040), short(0xc080), short(0xc0c0));
  const __mmask16 values = _mm256_test_epi16_mask(t, t);
  return _mm512_broadcast_i64x4(
      _mm256_mask_add_epi16(t, values, t, _mm256_set1_epi16(static_cast<short>(lift))));
}

// Register j of the words of 64 bytes, which are 128 codes.
inline __m512i nibbles_fp4(__m512i v, int j, __m512i table) {
  return _mm512_permutexvar_epi16(j == 0 ? v : _mm512_srli_epi16(v, 4 * j), table);
}

// The four scales of 128 columns: 128-bit lane l holds block l, as every register of words_fp4
// does.  Bytes to byte 3 of each dword, then one bit down: an exponent field.
inline __m512i spread_scales() {
  return _mm512_setr_epi32(0x00808080, 0x00808080, 0x00808080, 0x00808080, 0x01808080, 0x01808080,
                           0x01808080, 0x01808080, 0x02808080, 0x02808080, 0x02808080, 0x02808080,
                           0x03808080, 0x03808080, 0x03808080, 0x03808080);
}

inline __m512i four_scales(const std::uint8_t* s, __m512i spread) {
  std::int32_t four;
  std::memcpy(&four, s, sizeof four);
  return _mm512_srli_epi32(_mm512_shuffle_epi8(_mm512_set1_epi32(four), spread), 1);
}

// The codes of 128 columns of fp8, for words_fp8.
template <Kind kKind>
inline void load_fp8(const std::uint8_t* at, __m512i (&codes)[2]) {
  codes[0] = load64(at);
  codes[1] = load64(at + 64);
  if constexpr (kKind == Kind::kFp8By32) {
    const __m512i a = codes[0], b = codes[1];
    codes[0] = _mm512_shuffle_i64x2(a, b, 0x88);
    codes[1] = _mm512_shuffle_i64x2(a, b, 0xdd);
  }
}

// The four scales of 128 columns in the words of 128-bit lanes.
inline __m512i scales_in_words(const std::uint8_t* s) {
  std::int32_t four;
  std::memcpy(&four, s, sizeof four);
  const __m512i spread = _mm512_setr_epi64(
      0x8000800080008000, 0x8000800080008000, 0x8001800180018001, 0x8001800180018001,
      0x8002800280028002, 0x8002800280028002, 0x8003800380038003, 0x8003800380038003);
  return _mm512_shuffle_epi8(_mm512_set1_epi32(four), spread);
}

// Scales in the exponent of words: a table lifted by 2^64, of which (64 - scale) is subtracted
// but never below zero, so that zero stays zero.  Scales are within 2^+-60 here (plain_rows).
constexpr int kLift = 64 << 7;

// Saturating subtraction would take a unit that dot products need; these two do not.
inline __m512i dropped(__m512i w, __m512i drop) {
  return _mm512_sub_epi16(_mm512_max_epu16(w, drop), drop);
}

// fp8: of the exponent's eight bits the lowest lies in the low bytes, of which there are tables
// with and without it; from the high bytes the rest is subtracted.
constexpr Fp8Tables kFp8Lifted[2] = {make_fp8_tables(kLift), make_fp8_tables(kLift - (1 << 7))};

inline Fp8Decoder scaled_fp8(std::uint8_t scale) {
  const int drop = 127 + 64 - scale;
  Fp8Decoder d = fp8_decoder(kFp8Lifted[drop & 1]);
  const __m512i high = _mm512_set1_epi8(static_cast<char>(drop >> 1));
  for (__m512i& v : d.high) v = _mm512_sub_epi8(_mm512_max_epu8(v, high), high);
  d.high[1] = _mm512_mask_mov_epi8(d.high[1], std::uint64_t{1} << 63, _mm512_set1_epi8(0x7f));
  return d;
}

// By 32: a table has one scale.  Numbers that are not zero are marked by the lowest bit, which the
// mantissa of an fp8 code leaves free; their words get the scale and lose the mark.
constexpr Fp8Tables kFp8Marked = make_fp8_tables(1);

inline __m512i scale_marked(__m512i w, __m512i scales) {
  const __m512i one = _mm512_set1_epi16(1);
  const __m512i up = _mm512_slli_epi16(_mm512_sub_epi16(scales, _mm512_set1_epi16(127)), 7);
  return _mm512_mask_add_epi16(w, _mm512_test_epi16_mask(w, one), w, _mm512_sub_epi16(up, one));
}

// ---- x --------------------------------------------------------------------------

// 128 float32 columns, all bf16 values, to four registers in the order of a format.
inline Words natural(const float* x) {
  Words w;
  for (int j = 0; j < 4; ++j)
    w.v[j] =
        (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 32 * j + 16), _mm512_loadu_ps(x + 32 * j));
  return w;
}

struct Order {
  alignas(64) std::uint16_t word[2][32];
};

constexpr Order make_halves() {
  Order o{};
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 32; ++i) o.word[j][i] = std::uint16_t(i / 8 * 16 + 8 * j + i % 8);
  return o;
}
constexpr Order kHalves = make_halves();

inline Words halves(const Words& n) {
  const __m512i a = load64(kHalves.word[0]), b = load64(kHalves.word[1]);
  return {
      {_mm512_permutex2var_epi16(n.v[0], a, n.v[1]), _mm512_permutex2var_epi16(n.v[0], b, n.v[1]),
       _mm512_permutex2var_epi16(n.v[2], a, n.v[3]), _mm512_permutex2var_epi16(n.v[2], b, n.v[3])}};
}

inline Words quarters(const Words& n) {
  const __m512i a = _mm512_shuffle_i64x2(n.v[0], n.v[1], 0x44);
  const __m512i b = _mm512_shuffle_i64x2(n.v[2], n.v[3], 0x44);
  const __m512i c = _mm512_shuffle_i64x2(n.v[0], n.v[1], 0xee);
  const __m512i d = _mm512_shuffle_i64x2(n.v[2], n.v[3], 0xee);
  return {{_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd),
           _mm512_shuffle_i64x2(c, d, 0x88), _mm512_shuffle_i64x2(c, d, 0xdd)}};
}

// Every second word of two registers: evens or odds of 64 columns.
constexpr Order make_alternate() {
  Order o{};
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 32; ++i) o.word[j][i] = std::uint16_t(2 * i + j);
  return o;
}
constexpr Order kAlternate = make_alternate();

inline Words nibbles(const Words& n) {
  const __m512i even = load64(kAlternate.word[0]), odd = load64(kAlternate.word[1]);
  const __m512i e0 = _mm512_permutex2var_epi16(n.v[0], even, n.v[1]);
  const __m512i e1 = _mm512_permutex2var_epi16(n.v[2], even, n.v[3]);
  const __m512i o0 = _mm512_permutex2var_epi16(n.v[0], odd, n.v[1]);
  const __m512i o1 = _mm512_permutex2var_epi16(n.v[2], odd, n.v[3]);
  return {{_mm512_permutex2var_epi16(e0, even, e1), _mm512_permutex2var_epi16(o0, even, o1),
           _mm512_permutex2var_epi16(e0, odd, e1), _mm512_permutex2var_epi16(o0, odd, o1)}};
}
