// One token: weights go from memory through registers into the sums.

// The second-level cache is asked for lines this far ahead: with it all formats are read at
// memory speed, without it at 60 to 80 percent of it (bench/linear_bench).
constexpr std::int64_t kAhead = 16384;

inline void prefetch(const std::uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + kAhead), _MM_HINT_T1);
}

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

// sum + the products of columns [k, k + 128) of a row.
template <Format kFormat>
inline __m512 block(const RowReader& row, std::int64_t k, const Decoder& d, const __m512i* x,
                    __m512 sum) {
  __m512 p = _mm512_setzero_ps();
  if constexpr (kFormat == Format::kFp4) {
    const std::uint8_t* at = row.data + k / 2;
    prefetch(at);
    const Words w = words_fp4(load64(at), d.fp4);
    for (int j = 0; j < 4; ++j) p = dot(p, w.v[j], x[j]);
    return _mm512_fmadd_ps(p, _mm512_castsi512_ps(four_scales(row.scale + k / 32, d.spread)), sum);
  }
  if constexpr (kFormat == Format::kFp8) {
    for (int h = 0; h < 2; ++h) {
      const std::uint8_t* at = row.data + k + 64 * h;
      prefetch(at);
      __m512i w[2];
      words_fp8(load64(at), d.fp8, w);
      p = dot(dot(p, w[0], x[2 * h]), w[1], x[2 * h + 1]);
    }
    return _mm512_fmadd_ps(p, exponent(row.scale[k / 128]), sum);
  }
  for (int j = 0; j < 4; ++j) {
    const std::uint8_t* at = row.data + 2 * k + 64 * j;
    prefetch(at);
    p = dot(p, load64(at), x[j]);
  }
  return _mm512_add_ps(p, sum);
}

template <Format kFormat, int kRows>
inline void rows_times_token(const LinearArgs& a, std::int64_t r0, const std::uint16_t* x) {
  const Decoder d = decoder<kFormat, false>();
  RowReader row[kRows];
  __m512 sum[4];
  for (int i = 0; i < 4; ++i) sum[i] = _mm512_setzero_ps();
  for (int i = 0; i < kRows; ++i) row[i] = row_reader(a.w, r0 + i);
  for (std::int64_t k = 0; k < a.w.cols; k += kBlock) {
    __m512i v[4];
    for (int j = 0; j < 4; ++j) v[j] = load64(x + k + 32 * j);
    for (int i = 0; i < kRows; ++i) sum[i] = block<kFormat>(row[i], k, d, v, sum[i]);
  }
  put(a, 0, r0, kRows, fold(sum[0], sum[1], sum[2], sum[3]));
}

template <Format kFormat>
void one_token(const LinearArgs& a) {
  auto* x = reinterpret_cast<std::uint16_t*>(a.scratch);
  pack_x<kFormat>(token_row(a, 0), a.w.cols, x, kBlock);
  std::int64_t r = a.row_begin;
  for (; r + 4 <= a.row_end; r += 4) rows_times_token<kFormat, 4>(a, r, x);
  for (; r < a.row_end; ++r) rows_times_token<kFormat, 1>(a, r, x);
}
