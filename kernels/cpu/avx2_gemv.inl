// One token on AVX2: weights go from memory through registers into the sums.  Included after
// linear.inl, inside its anonymous namespace; the same sums in the same order, with the same bits.
//
// Decoding is the work here, so values stay where the cheapest decoding leaves them, x is laid
// out to meet them there, and sums return to the order of F16 at the end of a row:
//   parity  evens and odds of 16 columns: two registers of a row      bf16, fp8
//   four    columns i, i + 4, i + 8, i + 12: two rows share four      fp4
//           registers, one row in each half

// Two rows at a time: four of fp8 were read a tenth slower.  Lines are asked for further ahead than
// the other row of the pair, which is being read anyway (bench/linear_bench).
constexpr std::int64_t kBlock = kLinearBlock, kPairAhead = 32768;

inline __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// ---- parity ---------------------------------------------------------------------

constexpr int kPlacedShift = 120;  // see add_fp8

struct Parity {
  __m256 even, odd;
};

inline void pack_parity(const float* x, std::int64_t cols, float* out) {
  for (std::int64_t k = 0; k < cols; k += 16) {
    const __m256 a = _mm256_loadu_ps(x + k), b = _mm256_loadu_ps(x + k + 8);
    const __m256 low = _mm256_permute2f128_ps(a, b, 0x20);  // 0 to 3 and 8 to 11
    const __m256 high = _mm256_permute2f128_ps(a, b, 0x31);
    _mm256_storeu_ps(out + k, _mm256_shuffle_ps(low, high, 0x88));
    _mm256_storeu_ps(out + k + 8, _mm256_shuffle_ps(low, high, 0xdd));
  }
}

// Packed x times the scales of the rows that it will meet, one per `block` columns.
inline void scale_parity(const float* x, std::int64_t cols, const std::uint8_t* scale,
                         std::int64_t block, float* out) {
  for (std::int64_t k = 0; k < cols; ++scale) {
    const __m256 f = _mm256_set1_ps(power_of_two(*scale - 127 + kPlacedShift));
    for (const std::int64_t end = k + block; k < end; k += 8)
      _mm256_storeu_ps(out + k, _mm256_mul_ps(_mm256_loadu_ps(x + k), f));
  }
}

inline F16 in_order(const Parity& s) {
  const __m256 a = _mm256_unpacklo_ps(s.even, s.odd), b = _mm256_unpackhi_ps(s.even, s.odd);
  return {_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)};
}

inline __m256 first_words(__m256i w) { return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16)); }
inline __m256 second_words(__m256i w) {
  return _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32(-0x10000)));
}

// Sixteen bf16 words of a row.
inline void add_words(__m256i w, const Parity& x, Parity* sum) {
  sum->even = _mm256_fmadd_ps(first_words(w), x.even, sum->even);
  sum->odd = _mm256_fmadd_ps(second_words(w), x.odd, sum->odd);
}

// 16 e4m3 codes of a row times 2^-kPlacedShift: a code's exponent and mantissa as those of a
// float32.  What is subnormal in e4m3 is subnormal here: see reads_subnormals.  The way through
// float16 takes half as long again (bench/linear_bench).
inline void add_fp8(const std::uint8_t* p, const Parity& x, Parity* sum) {
  const __m256i c = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i w = _mm256_and_si256(_mm256_slli_epi16(c, 4), _mm256_set1_epi16(short(0x87f0)));
  add_words(w, x, sum);
}

template <Format kFormat>
inline void parity_rows(const LinearArgs& a, std::int64_t r, const float* x) {
  const RowReader row[2] = {row_reader(a.w, r), row_reader(a.w, r + 1)};
  const __m256 zero = _mm256_setzero_ps();
  Parity s = {zero, zero}, t = {zero, zero};
  for (std::int64_t k = 0; k < a.w.cols; k += kBlock) {
    prefetch<kFormat, 2>(row, k, k + kBlock, kPairAhead);
    for (std::int64_t c = k; c < k + kBlock; c += 16) {
      const Parity v = {_mm256_loadu_ps(x + c), _mm256_loadu_ps(x + c + 8)};
      if constexpr (kFormat == Format::kFp8) {
        add_fp8(row[0].data + c, v, &s);
        add_fp8(row[1].data + c, v, &t);
      } else {
        add_words(load32(row[0].data + 2 * c), v, &s);
        add_words(load32(row[1].data + 2 * c), v, &t);
      }
    }
  }
  put(a, 0, r, in_order(s));
  put(a, 0, r + 1, in_order(t));
}

// ---- four -----------------------------------------------------------------------

// The bytes of the bf16 of the sixteen e2m1 codes under each scale code.
struct Fp4Tables {
  alignas(32) std::uint8_t byte[256][2][16];
};

constexpr Fp4Tables make_fp4_tables() {
  constexpr int kWord[8] = {0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0};
  Fp4Tables t{};
  for (int s = 0; s < 256; ++s)
    for (int c = 0; c < 16; ++c) {
      const int lifted = c % 8 == 0 ? 0 : kWord[c % 8] + (s - 127) * 128;
      t.byte[s][0][c] = static_cast<std::uint8_t>(lifted & 255);
      t.byte[s][1][c] = static_cast<std::uint8_t>(lifted >> 8 | (c & 8) << 4);
    }
  return t;
}
constexpr Fp4Tables kFp4Tables = make_fp4_tables();

inline __m256i two(const void* low, const void* high) {
  const auto load16 = [](const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); };
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(low)), load16(high), 1);
}

// Each value twice, for two rows: broadcasts would cost a tenth of the time (bench/linear_bench).
inline void pack_four(const float* x, std::int64_t cols, float* out) {
  for (std::int64_t k = 0; k < cols; k += 16) {
    __m128 v[4];
    for (int i = 0; i < 4; ++i) v[i] = _mm_loadu_ps(x + k + 4 * i);
    _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]);
    for (int i = 0; i < 4; ++i) _mm256_storeu_ps(out + 2 * k + 8 * i, _mm256_set_m128(v[i], v[i]));
  }
}

// Sums of two rows: a holds lanes 0, 4, 8, 12 of both, b lanes 1, 5, 9, 13, and so on.
struct Four {
  __m256 a, b, c, d;  // not an array: gcc 12 would keep sums in memory
};

// 32 columns, one block of scales, of two rows.
inline void add_fp4(const RowReader& r, const RowReader& s, std::int64_t k, const float* x,
                    Four* sum) {
  const __m256i v = two(r.data + k / 2, s.data + k / 2), nibble = _mm256_set1_epi8(15);
  const auto& of_r = kFp4Tables.byte[r.scale[k / 32]];
  const auto& of_s = kFp4Tables.byte[s.scale[k / 32]];
  const __m256i bottom = two(of_r[0], of_s[0]), top = two(of_r[1], of_s[1]);
  const __m256i low = _mm256_and_si256(v, nibble);
  const __m256i low0 = _mm256_shuffle_epi8(bottom, low), low1 = _mm256_shuffle_epi8(top, low);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
  const __m256i high0 = _mm256_shuffle_epi8(bottom, high), high1 = _mm256_shuffle_epi8(top, high);
  __m256i even = _mm256_unpacklo_epi8(low0, low1), odd = _mm256_unpacklo_epi8(high0, high1);
  sum->a = _mm256_fmadd_ps(first_words(even), _mm256_loadu_ps(x), sum->a);
  sum->b = _mm256_fmadd_ps(first_words(odd), _mm256_loadu_ps(x + 8), sum->b);
  sum->c = _mm256_fmadd_ps(second_words(even), _mm256_loadu_ps(x + 16), sum->c);
  sum->d = _mm256_fmadd_ps(second_words(odd), _mm256_loadu_ps(x + 24), sum->d);
  even = _mm256_unpackhi_epi8(low0, low1), odd = _mm256_unpackhi_epi8(high0, high1);
  sum->a = _mm256_fmadd_ps(first_words(even), _mm256_loadu_ps(x + 32), sum->a);
  sum->b = _mm256_fmadd_ps(first_words(odd), _mm256_loadu_ps(x + 40), sum->b);
  sum->c = _mm256_fmadd_ps(second_words(even), _mm256_loadu_ps(x + 48), sum->c);
  sum->d = _mm256_fmadd_ps(second_words(odd), _mm256_loadu_ps(x + 56), sum->d);
}

inline void put_two(const LinearArgs& a, std::int64_t r, const Four& s) {
  const __m256 p = _mm256_unpacklo_ps(s.a, s.b), q = _mm256_unpacklo_ps(s.c, s.d);
  const __m256 u = _mm256_unpackhi_ps(s.a, s.b), v = _mm256_unpackhi_ps(s.c, s.d);
  const __m256 l0 = _mm256_shuffle_ps(p, q, 0x44), l4 = _mm256_shuffle_ps(p, q, 0xee);
  const __m256 l8 = _mm256_shuffle_ps(u, v, 0x44), l12 = _mm256_shuffle_ps(u, v, 0xee);
  put(a, 0, r, {_mm256_permute2f128_ps(l0, l4, 0x20), _mm256_permute2f128_ps(l8, l12, 0x20)});
  put(a, 0, r + 1, {_mm256_permute2f128_ps(l0, l4, 0x31), _mm256_permute2f128_ps(l8, l12, 0x31)});
}

inline void four_rows(const LinearArgs& a, std::int64_t r, const float* x) {
  const RowReader row[2] = {row_reader(a.w, r), row_reader(a.w, r + 1)};
  const __m256 zero = _mm256_setzero_ps();
  Four sum = {zero, zero, zero, zero};
  for (std::int64_t k = 0; k < a.w.cols; k += kBlock) {
    prefetch<Format::kFp4, 2>(row, k, k + kBlock, kPairAhead);
    for (std::int64_t c = k; c < k + kBlock; c += 32) add_fp4(row[0], row[1], c, x + 2 * c, &sum);
  }
  put_two(a, r, sum);
}

// ---- a token --------------------------------------------------------------------

// Scale codes from kLowest on leave products in the normal range of float32.
constexpr int kLowest = 67, kHighest = 187;

// The highest scale code under which x times 2^kPlacedShift stays finite.
inline int highest_for(const float* x, std::int64_t cols) {
  __m256 m = _mm256_setzero_ps();
  for (std::int64_t k = 0; k < cols; k += 8)
    m = _mm256_max_ps(m, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(x + k)));
  alignas(32) float of[8];
  _mm256_store_ps(of, m);
  int exponent = 127;  // biased, of the largest
  for (float f : of) {
    const int e = static_cast<int>(to_bits(f) >> 23);
    exponent = e > exponent ? e : exponent;
  }
  return 254 - kPlacedShift + 127 - exponent;
}

// Does this thread compute with subnormals?  If not (MXCSR.DAZ), fp8 takes the way through float16.
inline bool reads_subnormals() { return (_mm_getcsr() & 0x40u) == 0; }

// Are these scales within the range of the loops above?
inline bool plain_scales(const std::uint8_t* s, std::int64_t count, int highest) {
  const __m256i low = _mm256_set1_epi8(char(kLowest)), high = _mm256_set1_epi8(char(highest));
  __m256i least = low, most = high;
  std::int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    least = _mm256_min_epu8(least, load32(s + i));
    most = _mm256_max_epu8(most, load32(s + i));
  }
  bool plain = highest >= kLowest;
  for (; i < count; ++i) plain &= s[i] >= kLowest && s[i] <= highest;
  const __m256i in = _mm256_and_si256(_mm256_cmpeq_epi8(least, low), _mm256_cmpeq_epi8(most, high));
  return plain && _mm256_movemask_epi8(in) == -1;
}

void fp4_token(const LinearArgs& a) {
  const std::int64_t scales = a.w.cols / 32;
  pack_four(token_row(a, 0), a.w.cols, a.scratch);
  std::int64_t r = a.row_begin;
  for (; r + 2 <= a.row_end; r += 2) {
    if (plain_scales(a.w.scale + r * scales, 2 * scales, kHighest))
      four_rows(a, r, a.scratch);
    else
      rows_times_token<Format::kFp4, 2>(a, r, 0);
  }
  if (r < a.row_end) rows_times_token<Format::kFp4, 1>(a, r, 0);
}

void bf16_token(const LinearArgs& a) {
  pack_parity(token_row(a, 0), a.w.cols, a.scratch);
  std::int64_t r = a.row_begin;
  for (; r + 2 <= a.row_end; r += 2) parity_rows<Format::kBF16>(a, r, a.scratch);
  if (r < a.row_end) rows_times_token<Format::kBF16, 1>(a, r, 0);
}

// Rows that share their scales meet one x that has them; x is put in order once for all rows.
void fp8_token(const LinearArgs& a) {
  const std::int64_t cols = a.w.cols, scales = cols / a.w.block_cols;
  const int highest = reads_subnormals() ? highest_for(token_row(a, 0), cols) : 0;
  float *x = a.scratch, *scaled = x + cols;
  pack_parity(token_row(a, 0), cols, x);
  for (std::int64_t r = a.row_begin; r < a.row_end;) {
    const std::int64_t group = r / a.w.block_rows, next = (group + 1) * a.w.block_rows;
    const std::int64_t end = next < a.row_end ? next : a.row_end;
    const std::uint8_t* scale = a.w.scale + group * scales;
    if (plain_scales(scale, scales, highest)) {
      scale_parity(x, cols, scale, a.w.block_cols, scaled);
      for (; r + 2 <= end; r += 2) parity_rows<Format::kFp8>(a, r, scaled);
    }
    for (; r + kRowTile <= end; r += kRowTile) rows_times_token<Format::kFp8, kRowTile>(a, r, 0);
    for (; r < end; ++r) rows_times_token<Format::kFp8, 1>(a, r, 0);
  }
}
