// AVX-512 (F, BW, VL, DQ): sixteen float32 lanes, for linear.inl, attention.inl and indexer.inl.
// Included inside an anonymous namespace.

constexpr int kTileTokens = 6;  // 4 rows x 6 tokens = 24 of 32 registers hold sums
constexpr int kRowTile = 8;    // rows that one token alone meets together
constexpr int kDenseF16 = 2;   // 4 queries x 2

struct F16 {
  __m512 v;
};

inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

// Of sixteen lanes, as many as a register has.
using Register = __m512;
constexpr int kRegisterLanes = 16;
inline Register register_zero() { return _mm512_setzero_ps(); }
inline Register register_load(const float* p) { return _mm512_loadu_ps(p); }
inline void register_store(float* p, Register a) { _mm512_storeu_ps(p, a); }
inline Register register_fma(Register a, Register b, Register c) { return _mm512_fmadd_ps(a, b, c); }

inline F16 zero() { return {_mm512_setzero_ps()}; }
inline F16 all(float x) { return {_mm512_set1_ps(x)}; }
inline F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F16 load_first(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
inline void store_first(float* p, int n, F16 a) { _mm512_mask_storeu_ps(p, first(n), a.v); }
inline F16 add(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 sub(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F16 mul(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 divide(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F16 maximum(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F16 minimum(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F16 nearest(F16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a * 2^n for integral n in [-126, 127].
inline F16 scale_by(F16 a, F16 n) {
  const __m512i e =
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
  return {_mm512_mul_ps(a.v, _mm512_castsi512_ps(e))};
}
// a where x > limit, else 0.
inline F16 keep_above(F16 a, F16 x, float limit) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(limit), _CMP_GT_OQ), a.v)};
}
inline F16 rounded_bf16(F16 a) {
  const __m512i u = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  return {_mm512_castsi512_ps(_mm512_and_si512(r, _mm512_set1_epi32(-0x10000)))};
}
// ((l0+l8)+(l4+l12)) ...: lanes are folded in halves, the same on every instruction set.
inline float fold(F16 a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}

// 16 e4m3 codes times 2^-kFp8Shift.  An e4m3 code shifted into float16 has the same
// mantissa and an exponent bias that is 8 higher, subnormals included, and the
// conversion from float16 ignores flush-to-zero: exact for every code.
constexpr int kFp8Shift = 8;
inline F16 from_fp8(const std::uint8_t* p) {
  const __m256i c = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i half = _mm256_and_si256(_mm256_slli_epi16(c, 7), _mm256_set1_epi16(-0x4001));
  return {_mm512_cvtph_ps(half)};
}

// 16 e2m1 codes (8 bytes, low nibble first), unscaled.
inline F16 from_fp4(const std::uint8_t* p) {
  const __m512 table = _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f,
                                      -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f);
  const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i low = _mm_and_si128(pair, _mm_set1_epi8(15));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(pair, 4), _mm_set1_epi8(15));
  const __m512i code = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(low, high));
  return {_mm512_permutexvar_ps(code, table)};
}

// 32 e2m1 codes (16 bytes) times `factor`.
inline void from_fp4_32(const std::uint8_t* p, float factor, F16* w0, F16* w1) {
  const __m512 table =
      _mm512_mul_ps(_mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f,
                                   -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f),
                    _mm512_set1_ps(factor));
  const __m128i pair = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i high = _mm_srli_epi16(pair, 4);  // the permutation looks at 4 bits only
  w0->v = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(pair, high)), table);
  w1->v = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm_unpackhi_epi8(pair, high)), table);
}

inline F16 from_bf16(const std::uint8_t* p) {
  const __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(u, 16))};
}
