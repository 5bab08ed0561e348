// Few tokens: weights go from memory through registers into the sums of up to three tokens; the
// next three find them in the nearest cache.  A small batch is bound by memory and by arithmetic:
// here one does not wait for the other, as it would behind a panel of unpacked rows.

inline __m512 exponent(std::uint8_t code) {
  return _mm512_castsi512_ps(_mm512_set1_epi32(code << 23));
}

struct Decoder {
  __m512i fp4, spread;
  Fp8Decoder fp8;
};

// With kScaled, words come lifted: see kLift.
template <Format kFormat, bool kScaled>
inline Decoder decoder() {
  Decoder d{};
  if constexpr (kFormat == Format::kFp4) d = {fp4_table(kScaled ? kLift : 0), spread_scales(), {}};
  if constexpr (kFormat == Format::kFp8) d.fp8 = fp8_decoder(kScaled ? kFp8Lifted : kFp8Tables);
  return d;
}

// The codes of 128 columns of a row and, register by register, their words without scales.
template <Format kFormat>
struct RowBlock {
  const std::uint8_t* at;
  __m512i codes[2], pair[2];

  void start(const RowReader& row, std::int64_t k, std::int64_t ahead) {
    constexpr int kBytes = block_bytes(kFormat);
    at = row.data + k / kBlock * kBytes;
    for (int i = 0; i < kBytes; i += 64) prefetch(at + i, ahead);
    if constexpr (kFormat != Format::kBF16) codes[0] = load64(at);
    if constexpr (kFormat == Format::kFp8) codes[1] = load64(at + 64);
  }
  __m512i word(int j, const Decoder& d) {
    if constexpr (kFormat == Format::kFp4) return nibbles_fp4(codes[0], j, d.fp4);
    if constexpr (kFormat == Format::kBF16) return load64(at + 64 * j);
    if constexpr (kFormat == Format::kFp8) {
      if (j % 2 == 0) words_fp8(codes[j / 2], d.fp8, pair);
      return pair[j % 2];
    }
  }
};

template <Format kFormat>
inline __m512 scale_of(const RowReader& row, std::int64_t k, const Decoder& d) {
  if constexpr (kFormat == Format::kFp4)
    return _mm512_castsi512_ps(four_scales(row.scale + k / 32, d.spread));
  if constexpr (kFormat == Format::kFp8) return exponent(row.scale[k / 128]);
  return _mm512_setzero_ps();
}

// Rows go side by side: what one waits for, the others fill.  One token leaves registers for the
// fp4 codes of the next block, which come early then.
template <Format kFormat, int kRows, int kT>
inline void rows_times_few(const LinearArgs& a, std::int64_t t0, std::int64_t r0, const Decoder& d,
                           const std::uint16_t* x) {
  constexpr bool kEarly = kFormat == Format::kFp4 && kT == 1;
  const std::int64_t four = 4 * row_bytes(a.w), ahead = four > kAhead ? four : kAhead;
  RowReader row[kRows];
  RowBlock<kFormat> block[kRows];
  __m512 sum[4][kT] = {};
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) row[i] = row_reader(a.w, r0 + i);
#pragma GCC unroll 4
  for (int i = 0; kEarly && i < kRows; ++i) block[i].start(row[i], 0, ahead);
  for (std::int64_t k = 0; k < a.w.cols; k += kBlock, x += kT * kBlock) {
    const std::int64_t following = k + kBlock < a.w.cols ? k + kBlock : k;
    RowBlock<kFormat> now[kRows];
    __m512 p[kRows][kT];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      if (!kEarly) block[i].start(row[i], k, ahead);
      now[i] = block[i];
      if (kEarly) block[i].start(row[i], following, ahead);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m512i v[kT];
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) v[t] = load64(x + t * kBlock + 32 * j);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        const __m512i w = now[i].word(j, d);
#pragma GCC unroll 3
        for (int t = 0; t < kT; ++t) p[i][t] = dot(j == 0 ? _mm512_setzero_ps() : p[i][t], w, v[t]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const __m512 scale = scale_of<kFormat>(row[i], k, d);
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t)
        sum[i][t] = kFormat == Format::kBF16 ? _mm512_add_ps(p[i][t], sum[i][t])
                                             : _mm512_fmadd_ps(p[i][t], scale, sum[i][t]);
    }
  }
  put<kT>(a, t0, r0, kRows, sum);
}

// Tokens up to which weights are decoded once more for every three of them rather than put in a
// panel: stores take turns with products, decoding hardly does (bench/linear_bench).
constexpr std::int64_t few_tokens(Format f) { return f == Format::kFp8 ? 6 : 12; }

template <Format kFormat, int kRows>
inline void rows_times_all(const LinearArgs& a, std::int64_t r, const Decoder& d,
                           const std::uint16_t* x) {
  const std::int64_t groups = (a.tokens + 2) / 3;
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t t = a.tokens * g / groups, n = a.tokens * (g + 1) / groups - t;
    const std::uint16_t* part = x + t * a.w.cols;
    if (n == 1) rows_times_few<kFormat, kRows, 1>(a, t, r, d, part);
    if (n == 2) rows_times_few<kFormat, kRows, 2>(a, t, r, d, part);
    if (n == 3) rows_times_few<kFormat, kRows, 3>(a, t, r, d, part);
  }
}

template <Format kFormat>
void times_few_tokens(const LinearArgs& a) {
  const Decoder d = decoder<kFormat, false>();
  auto* x = reinterpret_cast<std::uint16_t*>(whole_lines(a.scratch));
  const std::int64_t groups = (a.tokens + 2) / 3;
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t t = a.tokens * g / groups, n = a.tokens * (g + 1) / groups - t;
    for (std::int64_t i = 0; i < n; ++i)
      pack_x<kFormat>(token_row(a, t + i), a.w.cols, x + t * a.w.cols + i * kBlock, n * kBlock);
  }
  std::int64_t r = a.row_begin;
  for (; r + 4 <= a.row_end; r += 4) rows_times_all<kFormat, 4>(a, r, d, x);
  for (; r < a.row_end; ++r) rows_times_all<kFormat, 1>(a, r, d, x);
}
