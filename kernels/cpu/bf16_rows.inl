// Rows of W, blocks of tokens, packed activations and folding, for bf16_*.inl and int8_*.inl.

constexpr std::int64_t kBlock = kLinearBlock;  // columns that one scale, or one sum, covers

struct RowReader {
  const std::uint8_t* data;
  const std::uint8_t* scale;  // of this row, one per block_cols columns
};

inline std::int64_t row_bytes(const Weight& w) {
  if (w.format == Format::kBF16) return 2 * w.cols;
  return w.format == Format::kFp8 ? w.cols : w.cols / 2;
}

// Of a format with codes; they cover 32 columns, or fp8's 128.
inline std::int64_t scales_of_row(const Weight& w) {
  return w.block_cols == 128 ? w.cols / 128 : w.cols / 32;
}

inline RowReader row_reader(const Weight& w, std::int64_t r) {
  const auto* data = static_cast<const std::uint8_t*>(w.data);
  if (w.format == Format::kBF16) return {data + 2 * r * w.cols, nullptr};
  if (w.format == Format::kFp8)
    return {data + r * w.cols, w.scale + r / w.block_rows * scales_of_row(w)};
  return {data + r * (w.cols / 2), w.scale + r * (w.cols / 32)};
}

// Are all scales of rows [r, end) within 2^+-60?  Then neither a product with an fp8 or fp4 code
// nor a sum of them can leave the normal range of float32 by the scale.
inline bool plain_rows(const Weight& w, std::int64_t r, std::int64_t end) {
  const std::int64_t rows = w.format == Format::kFp8 ? w.block_rows : 1;
  const std::int64_t per_row = scales_of_row(w);
  const std::uint8_t* s = row_reader(w, r).scale;
  const std::int64_t count = ((end - 1) / rows - r / rows + 1) * per_row;
  const __m512i low = _mm512_set1_epi8(67), span = _mm512_set1_epi8(120);
  __m512i most = _mm512_setzero_si512();
  std::int64_t i = 0;
  for (; i + 64 <= count; i += 64)
    most = _mm512_max_epu8(most, _mm512_sub_epi8(load64(s + i), low));
  const __mmask64 rest = (std::uint64_t{1} << (count - i)) - 1;
  const __m512i last = _mm512_mask_loadu_epi8(low, rest, s + i);
  most = _mm512_max_epu8(most, _mm512_sub_epi8(last, low));
  return _mm512_cmpgt_epu8_mask(most, span) == 0;
}

// Calls body(r) for the rows of `a` whose scales are not plain.
template <class Body>
inline void other_rows(const LinearArgs& a, Body&& body) {
  if (a.row_end <= a.row_begin || plain_rows(a.w, a.row_begin, a.row_end)) return;
  for (std::int64_t r = a.row_begin; r < a.row_end; ++r)
    if (!plain_rows(a.w, r, r + 1)) body(r);
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

// Tokens in even groups of `most` at most: no small one is left over.
struct Groups {
  std::int64_t tokens, most, count = (tokens + most - 1) / most;
  std::int64_t begin(std::int64_t g) const { return tokens * g / count; }
  std::int64_t size(std::int64_t g) const { return begin(g + 1) - begin(g); }
};

// The call, group after group; at once with tokens that are packed already.
template <class Body>
inline void in_blocks(const LinearArgs& a, std::int64_t most, Body&& body) {
  if (a.prepared != nullptr) return body(a);
  const Groups groups{a.tokens, most};
  for (std::int64_t g = 0; g < groups.count; ++g)
    body(some_tokens(a, groups.begin(g), groups.begin(g + 1)));
}

constexpr std::int64_t kTile = 3;                        // tokens of a register tile
constexpr std::int64_t kTokenBlock = kLinearTokenBlock;  // that stay in the second-level cache

// Tiles of a block, whose packed tokens have `bytes` each.
inline std::int64_t block_tiles(std::int64_t bytes) {
  const std::int64_t fit = (std::int64_t{384} << 10) / bytes / kTile;
  return fit < 2 ? 2 : fit < kTokenBlock / kTile ? fit : kTokenBlock / kTile;
}

inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

// Lanes of the sums of four rows and up to four tokens are folded in halves: 128-bit lane t of the
// result holds the rows of token t.
template <int kT>
inline __m512 fold(const __m512 (&sum)[4][kT]) {
  const auto halves_added = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  };
  __m512 row[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 a = halves_added(sum[i][0], sum[i][kT > 1 ? 1 : 0]);
    const __m512 b = kT < 3 ? a : halves_added(sum[i][kT - 1], sum[i][kT - 1]);
    row[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  const auto pairs_added = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
  };
  const __m512 a = pairs_added(row[0], row[1]), b = pairs_added(row[2], row[3]);
  return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}

// Rows [r, r + count) of the kT tokens from t on.
template <int kT>
inline void put(const LinearArgs& a, std::int64_t t, std::int64_t r, std::int64_t count,
                const __m512 (&sum)[4][kT]) {
  static_assert(kT <= 3);
  __m512 y = fold(sum);
  if (a.round_bf16) y = rounded_bf16(F16{y}).v;
  const __m128 token[3] = {_mm512_castps512_ps128(y), _mm512_extractf32x4_ps(y, 1),
                           _mm512_extractf32x4_ps(y, 2)};
  const auto rows = static_cast<__mmask8>(count < 4 ? (1 << count) - 1 : 15);
#pragma GCC unroll 3
  for (int i = 0; i < kT; ++i)
    _mm_mask_storeu_ps(a.y + (t + i) * a.y_stride + r - a.y_begin, rows, token[i]);
}

// Results of `rows` rows, one or two, and kT tokens.
template <int kT>
inline void put_pair(const LinearArgs& a, std::int64_t t, std::int64_t r, int rows,
                     const __m512 (&sum)[2][kT]) {
  constexpr int kHalf = (kT + 1) / 2;
  __m512 s[4][kHalf];
#pragma GCC unroll 12
  for (int i = 0; i < 4 * kHalf; ++i) {
    const int token = i / 4 + i % 4 / 2 * kHalf;
    s[i % 4][i / 4] = sum[i % 2][token < kT ? token : kT - 1];
  }
  __m512 y = fold(s);
  if (a.round_bf16) y = rounded_bf16(F16{y}).v;
  alignas(64) float lane[16];
  _mm512_store_ps(lane, y);
#pragma GCC unroll 6
  for (int j = 0; j < kT; ++j)
    std::memcpy(a.y + (t + j) * a.y_stride + r - a.y_begin,
                lane + 4 * (j % kHalf) + 2 * (j / kHalf), static_cast<std::size_t>(rows) * 4);
}
