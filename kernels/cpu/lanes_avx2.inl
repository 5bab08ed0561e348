// AVX2 + FMA: sixteen float32 lanes, for linear.inl, attention.inl and indexer.inl.
// 16 lanes are two registers, so that sums are formed in the same order as in the
// AVX-512 kernels, and with the same bits.  Included inside an anonymous namespace.

constexpr int kTileTokens = 3;  // 4 rows x 3 tokens x 8 lanes = 12 of 16 registers hold sums
constexpr int kRowTile = 4;    // rows that one token alone meets together
constexpr int kDenseF16 = 1;   // 4 queries x 1

struct F16 {
  __m256 lo, hi;
};

// Per-lane masks: a window of 16 into 16 x ones, 16 x zeros.
alignas(32) constexpr std::int32_t kMask[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                                -1, -1, -1, -1, -1, 0,  0,  0,  0,  0,  0,
                                                0,  0,  0,  0,  0,  0,  0,  0,  0,  0};
inline __m256i first(int n, int half) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 16 - n + 8 * half));
}

// Of sixteen lanes, as many as a register has.
using Register = __m256;
constexpr int kRegisterLanes = 8;
inline Register register_zero() { return _mm256_setzero_ps(); }
inline Register register_load(const float* p) { return _mm256_loadu_ps(p); }
inline void register_store(float* p, Register a) { _mm256_storeu_ps(p, a); }
inline Register register_fma(Register a, Register b, Register c) { return _mm256_fmadd_ps(a, b, c); }

inline F16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F16 all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline F16 load_first(const float* p, int n) {
  return {_mm256_maskload_ps(p, first(n, 0)), _mm256_maskload_ps(p + 8, first(n, 1))};
}
inline void store(float* p, F16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline void store_first(float* p, int n, F16 a) {
  _mm256_maskstore_ps(p, first(n, 0), a.lo);
  _mm256_maskstore_ps(p + 8, first(n, 1), a.hi);
}
inline F16 add(F16 a, F16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F16 sub(F16 a, F16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F16 mul(F16 a, F16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F16 divide(F16 a, F16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline F16 maximum(F16 a, F16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline F16 minimum(F16 a, F16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline F16 nearest(F16 a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kMode), _mm256_round_ps(a.hi, kMode)};
}
inline __m256 scale_half(__m256 a, __m256 n) {
  const __m256i e =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(a, _mm256_castsi256_ps(e));
}
inline F16 scale_by(F16 a, F16 n) { return {scale_half(a.lo, n.lo), scale_half(a.hi, n.hi)}; }
inline F16 keep_above(F16 a, F16 x, float limit) {
  const __m256 l = _mm256_set1_ps(limit);
  return {_mm256_and_ps(a.lo, _mm256_cmp_ps(x.lo, l, _CMP_GT_OQ)),
          _mm256_and_ps(a.hi, _mm256_cmp_ps(x.hi, l, _CMP_GT_OQ))};
}
inline __m256 round_half(__m256 a) {
  const __m256i u = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
  return _mm256_castsi256_ps(_mm256_and_si256(r, _mm256_set1_epi32(-0x10000)));
}
inline F16 rounded_bf16(F16 a) { return {round_half(a.lo), round_half(a.hi)}; }
inline float fold(F16 a) {
  const __m256 h = _mm256_add_ps(a.lo, a.hi);
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}

// 16 e4m3 codes times 2^-kFp8Shift, by way of float16: see lanes_avx512.inl.
constexpr int kFp8Shift = 8;
inline F16 from_fp8(const std::uint8_t* p) {
  const __m256i c = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i half = _mm256_and_si256(_mm256_slli_epi16(c, 7), _mm256_set1_epi16(-0x4001));
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
}

inline __m256 fp4_half(__m256i code) {
  const __m256 table = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(8)), 28);
  return _mm256_or_ps(_mm256_permutevar8x32_ps(table, code), _mm256_castsi256_ps(sign));
}
inline F16 from_fp4(const std::uint8_t* p) {
  const __m128i pair = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i low = _mm_and_si128(pair, _mm_set1_epi8(15));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(pair, 4), _mm_set1_epi8(15));
  const __m128i code = _mm_unpacklo_epi8(low, high);
  return {fp4_half(_mm256_cvtepu8_epi32(code)),
          fp4_half(_mm256_cvtepu8_epi32(_mm_srli_si128(code, 8)))};
}

// 8 e2m1 codes (4 bytes) as values of `table`, that of the magnitudes.
inline __m256 fp4_eight(const std::uint8_t* p, __m256 table) {
  std::int32_t eight;
  std::memcpy(&eight, p, sizeof eight);
  const __m256i code =
      _mm256_srlv_epi32(_mm256_set1_epi32(eight), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
  const __m256 sign = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
  // The permutation looks at the lowest three bits.
  return _mm256_or_ps(_mm256_permutevar8x32_ps(table, code),
                      _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}

// 32 e2m1 codes (16 bytes) times `factor`: the table is scaled, not the values.
inline void from_fp4_32(const std::uint8_t* p, float factor, F16* w0, F16* w1) {
  const __m256 table = _mm256_mul_ps(_mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f),
                                     _mm256_set1_ps(factor));
  *w0 = {fp4_eight(p, table), fp4_eight(p + 4, table)};
  *w1 = {fp4_eight(p + 8, table), fp4_eight(p + 12, table)};
}

inline __m256 bf16_half(const std::uint8_t* p) {
  const __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(u, 16));
}
inline F16 from_bf16(const std::uint8_t* p) { return {bf16_half(p), bf16_half(p + 16)}; }
