// Many tokens: four rows of W become bf16 once, in scratch, and meet the packed tokens in
// register tiles of 4 rows x 3 tokens.

constexpr int kTileTokens = 3;  // 12 sums, 12 sums of the block in work, 4 + 3 operands

// Words of scaled weights: the scale is added to the exponent of what is not zero.
inline __m512i add_exponent(__m512i words, __m512i e) {
  return _mm512_mask_add_epi16(words, _mm512_test_epi16_mask(words, _mm512_set1_epi16(0x7fff)),
                               words, e);
}

// A row as bf16 with its scales, in the order of the format.
template <Format kFormat>
inline void unpack_row(const RowReader& row, std::int64_t cols, const Decoder& d,
                       std::uint16_t* out) {
  for (std::int64_t k = 0; k < cols; k += kBlock, out += kBlock) {
    if constexpr (kFormat == Format::kFp4) {
      const std::uint8_t* at = row.data + k / 2;
      prefetch(at);
      const Words w = words_fp4(load64(at), d.fp4);
      // The exponent of float32 moved to where bf16 has it, in both words of each dword.
      const __m512i s = _mm512_srli_epi32(four_scales(row.scale + k / 32, d.spread), 16);
      const __m512i both = _mm512_or_si512(s, _mm512_slli_epi32(s, 16));
      const __m512i e = _mm512_sub_epi16(both, _mm512_set1_epi16(127 << 7));
      for (int j = 0; j < 4; ++j) _mm512_storeu_si512(out + 32 * j, add_exponent(w.v[j], e));
    } else {
      const __m512i e = _mm512_set1_epi16(static_cast<short>((row.scale[k / 128] - 127) * 128));
      for (int h = 0; h < 2; ++h) {
        const std::uint8_t* at = row.data + k + 64 * h;
        prefetch(at);
        __m512i w[2];
        words_fp8(load64(at), d.fp8, w);
        for (int j = 0; j < 2; ++j)
          _mm512_storeu_si512(out + 64 * h + 32 * j, add_exponent(w[j], e));
      }
    }
  }
}

// Four rows of weights times kT tokens of x.
template <int kT>
inline void tile(const LinearArgs& a, const std::uint16_t* const* w, const std::uint16_t* x,
                 std::int64_t r0, int rows, std::int64_t t0) {
  __m512 sum[4][kT];
  for (int i = 0; i < 4; ++i)
    for (int t = 0; t < kT; ++t) sum[i][t] = _mm512_setzero_ps();
  const std::int64_t cols = a.w.cols;
  for (std::int64_t k = 0; k < cols; k += kBlock) {
    __m512 p[4][kT];
    for (int i = 0; i < 4; ++i)
      for (int t = 0; t < kT; ++t) p[i][t] = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m512i u[4];
      for (int i = 0; i < 4; ++i) u[i] = load64(w[i] + k + 32 * j);
#pragma GCC unroll 4
      for (int t = 0; t < kT; ++t) {
        const __m512i v = load64(x + t * cols + k + 32 * j);
        for (int i = 0; i < 4; ++i) p[i][t] = dot(p[i][t], u[i], v);
      }
    }
    for (int i = 0; i < 4; ++i)
      for (int t = 0; t < kT; ++t) sum[i][t] = _mm512_add_ps(p[i][t], sum[i][t]);
  }
  for (int t = 0; t < kT; ++t)
    put(a, t0 + t, r0, rows, fold(sum[0][t], sum[1][t], sum[2][t], sum[3][t]));
}

// Rows [r0, r0 + rows), at most four, times the tokens [t0, t1) packed in x.
template <Format kFormat>
inline void rows_times_tokens(const LinearArgs& a, const Decoder& d, std::int64_t r0, int rows,
                              const std::uint16_t* x, std::int64_t t0, std::int64_t t1,
                              std::uint16_t* panel) {
  const std::uint16_t* w[4];
  for (int i = 0; i < 4; ++i) {  // missing rows repeat the last one; their sums are not stored
    const std::int64_t r = r0 + (i < rows ? i : rows - 1);
    if constexpr (kFormat == Format::kBF16) {
      w[i] = reinterpret_cast<const std::uint16_t*>(row_reader(a.w, r).data);
    } else {
      w[i] = panel + i * a.w.cols;
      unpack_row<kFormat>(row_reader(a.w, r), a.w.cols, d, panel + i * a.w.cols);
    }
  }
  std::int64_t t = t0;
  for (; t + kTileTokens <= t1; t += kTileTokens, x += kTileTokens * a.w.cols)
    tile<kTileTokens>(a, w, x, r0, rows, t);
  if (t1 - t == 2) tile<2>(a, w, x, r0, rows, t);
  if (t1 - t == 1) tile<1>(a, w, x, r0, rows, t);
}

template <Format kFormat>
void many_tokens(const LinearArgs& a) {
  const Decoder d = decoder<kFormat>();
  const std::int64_t cols = a.w.cols, most = linear_tokens(cols);
  auto* panel = reinterpret_cast<std::uint16_t*>(a.scratch);
  std::uint16_t* x = panel + 4 * cols;
  for (std::int64_t t0 = 0; t0 < a.tokens; t0 += most) {
    const std::int64_t t1 = a.tokens - t0 < most ? a.tokens : t0 + most;
    for (std::int64_t t = t0; t < t1; ++t)
      pack_x<kFormat>(token_row(a, t), cols, x + (t - t0) * cols);
    for (std::int64_t r = a.row_begin; r < a.row_end; r += 4) {
      const int rows = a.row_end - r < 4 ? static_cast<int>(a.row_end - r) : 4;
      rows_times_tokens<kFormat>(a, d, r, rows, x, t0, t1, panel);
    }
  }
}
