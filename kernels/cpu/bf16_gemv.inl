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

// The weights of columns [k, k + 128) of a row without their scales; kScaled: fp8 with them, fp4
// lifted.
template <Format kFormat, bool kScaled>
inline Words words_of(const RowReader& row, std::int64_t k, const Decoder& d,
                      std::int64_t ahead = kAhead) {
  Words w;
  if constexpr (kFormat == Format::kFp4) {
    prefetch(row.data + k / 2, ahead);
    w = words_fp4(load64(row.data + k / 2), d.fp4);
  } else if constexpr (kFormat == Format::kFp8) {
    for (int h = 0; h < 2; ++h) {
      prefetch(row.data + k + 64 * h, ahead);
      const __m512i codes = load64(row.data + k + 64 * h);
      if constexpr (kScaled)
        scaled_fp8(codes, d.fp8, fp8_drop(row.scale[k / 128]), w.v + 2 * h);
      else
        words_fp8(codes, d.fp8, w.v + 2 * h);
    }
  } else {
    for (int j = 0; j < 4; ++j) {
      prefetch(row.data + 2 * k + 64 * j, ahead);
      w.v[j] = load64(row.data + 2 * k + 64 * j);
    }
  }
  return w;
}

// sum[t] + the products of columns [k, k + 128) of a row with kT tokens.
template <Format kFormat, int kT>
inline void add_block(const RowReader& row, std::int64_t k, const Decoder& d, const __m512i (*x)[4],
                      __m512* sum) {
  const Words w = words_of<kFormat, false>(row, k, d);
  __m512 scale = _mm512_setzero_ps();
  if constexpr (kFormat == Format::kFp4)
    scale = _mm512_castsi512_ps(four_scales(row.scale + k / 32, d.spread));
  if constexpr (kFormat == Format::kFp8) scale = exponent(row.scale[k / 128]);
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t) {
    __m512 p = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) p = dot(p, w.v[j], x[t][j]);
    sum[t] =
        kFormat == Format::kBF16 ? _mm512_add_ps(p, sum[t]) : _mm512_fmadd_ps(p, scale, sum[t]);
  }
}

template <Format kFormat, int kRows, int kT>
inline void rows_times_few(const LinearArgs& a, std::int64_t r0, const Decoder& d,
                           const std::uint16_t* x) {
  RowReader row[kRows];
  __m512 sum[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) sum[i][t] = _mm512_setzero_ps();
  for (int i = 0; i < kRows; ++i) row[i] = row_reader(a.w, r0 + i);
  for (std::int64_t k = 0; k < a.w.cols; k += kBlock) {
    __m512i v[kT][4];
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) v[t][j] = load64(x + t * a.w.cols + k + 32 * j);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) add_block<kFormat, kT>(row[i], k, d, v, sum[i]);
  }
  for (int t = 0; t < kT; ++t)
    put(a, t, r0, kRows, fold(sum[0][t], sum[1][t], sum[2][t], sum[3][t]));
}

// Eight tokens by threes were no faster than behind a panel (bench/batch_bench).
constexpr std::int64_t kFewTokens = 3;

template <Format kFormat, int kRows>
inline void rows_times_all(const LinearArgs& a, std::int64_t r, const Decoder& d,
                           const std::uint16_t* x) {
  if (a.tokens == 1) rows_times_few<kFormat, kRows, 1>(a, r, d, x);
  if (a.tokens == 2) rows_times_few<kFormat, kRows, 2>(a, r, d, x);
  if (a.tokens == 3) rows_times_few<kFormat, kRows, 3>(a, r, d, x);
}

template <Format kFormat>
void few_tokens(const LinearArgs& a) {
  const Decoder d = decoder<kFormat, false>();
  auto* x = reinterpret_cast<std::uint16_t*>(whole_lines(a.scratch));
  for (std::int64_t t = 0; t < a.tokens; ++t)
    pack_x<kFormat>(token_row(a, t), a.w.cols, x + t * a.w.cols, kBlock);
  std::int64_t r = a.row_begin;
  for (; r + 4 <= a.row_end; r += 4) rows_times_all<kFormat, 4>(a, r, d, x);
  for (; r < a.row_end; ++r) rows_times_all<kFormat, 1>(a, r, d, x);
}
