// Rows of W, blocks of tokens, packed activations and folding, for bf16_*.inl and int8_*.inl.

constexpr std::int64_t kBlock = kLinearBlock;  // columns that one scale, or one sum, covers

struct RowReader {
  const std::uint8_t* data;
  const std::uint8_t* scale;  // of this row, one per block_cols columns
};

inline RowReader row_reader(const Weight& w, std::int64_t r) {
  const auto* data = static_cast<const std::uint8_t*>(w.data);
  if (w.format == Format::kBF16) return {data + 2 * r * w.cols, nullptr};
  if (w.format == Format::kFp8)
    return {data + r * w.cols, w.scale + r / w.block_rows * (w.cols / 128)};
  return {data + r * (w.cols / 2), w.scale + r * (w.cols / 32)};
}

// Are all scales of row r within 2^+-60?  Then neither a product with an fp8 or fp4 code nor a
// sum of them can leave the normal range of float32 by the scale.
inline bool plain_row(const Weight& w, std::int64_t r) {
  const std::int64_t count = w.cols / (w.format == Format::kFp8 ? 128 : 32);
  const std::uint8_t* s = row_reader(w, r).scale;
  const __m512i low = _mm512_set1_epi8(67), span = _mm512_set1_epi8(120);
  __mmask64 odd = 0;
  for (std::int64_t i = 0; i < count; i += 64) {
    const __mmask64 part =
        count - i < 64 ? (std::uint64_t{1} << (count - i)) - 1 : ~std::uint64_t{0};
    const __m512i v = _mm512_maskz_loadu_epi8(part, s + i);
    odd |= _mm512_mask_cmpgt_epu8_mask(part, _mm512_sub_epi8(v, low), span);
  }
  return odd == 0;
}

// The first cache line from p on: a load that crosses lines counts twice.
inline float* whole_lines(float* p) {
  return reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(p) + 63) / 64 * 64);
}

inline const float* token_row(const LinearArgs& a, std::int64_t t) {
  return a.x + (a.x_row != nullptr ? a.x_row[t] : t) * a.x_stride;
}

// The second-level cache is asked for lines this far ahead: with it all formats are read at
// memory speed, without it at 60 to 80 percent of it (bench/linear_bench).
constexpr std::int64_t kAhead = 16384;

inline void prefetch(const std::uint8_t* p, std::int64_t ahead) {
  _mm_prefetch(reinterpret_cast<const char*>(p + ahead), _MM_HINT_T1);
}

// Tokens [begin, end).
inline LinearArgs some_tokens(LinearArgs a, std::int64_t begin, std::int64_t end) {
  if (a.x_row != nullptr)
    a.x_row += begin;
  else
    a.x += begin * a.x_stride;
  a.y += begin * a.y_stride;
  a.tokens = end - begin;
  return a;
}

// The call in even blocks of `most` tokens at most: none is left with one or two.
template <class Body>
inline void in_blocks(const LinearArgs& a, std::int64_t most, Body&& body) {
  const std::int64_t blocks = (a.tokens + most - 1) / most;
  for (std::int64_t i = 0; i < blocks; ++i)
    body(some_tokens(a, a.tokens * i / blocks, a.tokens * (i + 1) / blocks));
}

// A row of x as bf16 in the order of the format, a block every `step` words.
template <Format kFormat>
inline void pack_x(const float* x, std::int64_t cols, std::uint16_t* out, std::int64_t step) {
  for (std::int64_t k = 0; k < cols; k += kBlock, out += step) {
    Words w = natural(x + k);
    if constexpr (kFormat == Format::kFp8) w = halves(w);
    if constexpr (kFormat == Format::kFp4) w = nibbles(w);
    for (int j = 0; j < 4; ++j) _mm512_storeu_si512(out + 32 * j, w.v[j]);
  }
}

inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

inline __m128 fold_to_four(__m512 a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}

// The sums of four registers, each folded in halves.
inline __m128 fold(__m512 a, __m512 b, __m512 c, __m512 d) {
  __m128 q0 = fold_to_four(a), q1 = fold_to_four(b), q2 = fold_to_four(c), q3 = fold_to_four(d);
  _MM_TRANSPOSE4_PS(q0, q1, q2, q3);
  return _mm_add_ps(_mm_add_ps(q0, q2), _mm_add_ps(q1, q3));
}

inline __m128 rounded_bf16(__m128 a) {
  const __m128i u = _mm_castps_si128(a);
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(u, 16), _mm_set1_epi32(1));
  const __m128i r = _mm_add_epi32(_mm_add_epi32(u, _mm_set1_epi32(0x7fff)), odd);
  return _mm_castsi128_ps(_mm_and_si128(r, _mm_set1_epi32(-0x10000)));
}

// Rows [r, r + count) of token t.
inline void put(const LinearArgs& a, std::int64_t t, std::int64_t r, int count, __m128 sums) {
  if (a.round_bf16) sums = rounded_bf16(sums);
  float* y = a.y + t * a.y_stride + r - a.y_begin;
  if (count == 4)
    _mm_storeu_ps(y, sums);
  else
    _mm_mask_storeu_ps(y, static_cast<__mmask8>((1 << count) - 1), sums);
}
