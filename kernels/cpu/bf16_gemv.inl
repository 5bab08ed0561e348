// Few tokens: weights go from memory through registers into the sums of a tile of tokens; the
// next tile finds them in the nearest cache.  A small batch is bound by memory and by arithmetic:
// here one does not wait for the other, as it would behind a panel of unpacked rows.

inline __m512 exponent(std::uint8_t code) {
  return _mm512_castsi512_ps(_mm512_set1_epi32(code << 23));
}

struct Decoder {
  __m512i fp4, spread;
  Fp8Decoder fp8;
};

// With kScaled, words of fp4 come lifted: see kLift; those of fp8 have a table for each scale, or
// are marked.
template <Kind kKind, bool kScaled>
inline Decoder decoder() {
  Decoder d{};
  if constexpr (kKind == Kind::kFp4) d = {fp4_table(kScaled ? kLift : 0), spread_scales(), {}};
  if constexpr (is_fp8(kKind) && !kScaled) d.fp8 = fp8_decoder(kFp8Tables);
  if constexpr (kKind == Kind::kFp8By32) d.spread = spread_scales();
  if constexpr (kKind == Kind::kFp8By32 && kScaled) d.fp8 = fp8_decoder(kFp8Marked);
  return d;
}

// The codes of 128 columns of a row and, register by register, their words without scales.
template <Kind kKind>
struct RowBlock {
  const std::uint8_t* at;
  __m512i codes[2], pair[2];

  void start(const RowReader& row, std::int64_t k, std::int64_t ahead) {
    constexpr int kBytes = block_bytes(kKind);
    at = row.data + k / kBlock * kBytes;
    for (int i = 0; i < kBytes; i += 64) prefetch(at + i, ahead);
    if constexpr (kKind == Kind::kFp4) codes[0] = load64(at);
    if constexpr (is_fp8(kKind)) load_fp8<kKind>(at, codes);
  }
  __m512i word(int j, const Decoder& d) {
    if constexpr (kKind == Kind::kFp4) return nibbles_fp4(codes[0], j, d.fp4);
    if constexpr (kKind == Kind::kBF16) return load64(at + 64 * j);
    if constexpr (is_fp8(kKind)) {
      if (j % 2 == 0) words_fp8(codes[j / 2], d.fp8, pair);
      return pair[j % 2];
    }
  }
};

template <Kind kKind>
inline __m512 scale_of(const RowReader& row, std::int64_t k, const Decoder& d) {
  if constexpr (kKind == Kind::kFp4 || kKind == Kind::kFp8By32)
    return _mm512_castsi512_ps(four_scales(row.scale + k / 32, d.spread));
  if constexpr (kKind == Kind::kFp8) return exponent(row.scale[k / 128]);
  return _mm512_setzero_ps();
}

// What rows [r, r + kRows) and tokens [t, t + kT) add over columns [begin, end): four rows of three
// tokens, or two of six, so that what takes long to decode is decoded once.
struct FewArgs {
  std::int64_t t, r, begin, end, ahead;
  const std::uint16_t* x;  // of column 0: block after block of these tokens
  float* sums;             // [kRows][kT] registers between parts of the columns
};

// Rows go side by side: what one waits for, the others fill.  One token leaves registers for the
// fp4 codes of the next block, which come early then.
template <Kind kKind, int kRows, int kT>
inline void rows_times_few(const LinearArgs& a, const FewArgs& f, const Decoder& d) {
  constexpr bool kEarly = kKind == Kind::kFp4 && kT == 1;
  RowReader row[kRows];
  RowBlock<kKind> block[kRows];
  __m512 sum[kT > 3 ? 2 : 4][kT] = {};
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) row[i] = row_reader(a.w, f.r + i);
#pragma GCC unroll 4
  for (int i = 0; kEarly && i < kRows; ++i) block[i].start(row[i], f.begin, f.ahead);
  if (kT > 1 && f.begin > 0) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) sum[i][t] = _mm512_loadu_ps(f.sums + 16 * (kT * i + t));
  }
  const std::uint16_t* x = f.x + f.begin * kT;
  const std::int64_t end = f.end, ahead = f.ahead;
  for (std::int64_t k = f.begin; k < end; k += kBlock, x += kT * kBlock) {
    const std::int64_t following = k + kBlock < end ? k + kBlock : k;
    RowBlock<kKind> now[kRows];
    __m512 p[kRows][kT];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      if (!kEarly) block[i].start(row[i], k, ahead);
      now[i] = block[i];
      if (kEarly) block[i].start(row[i], following, ahead);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m512i w[kRows];
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) w[i] = now[i].word(j, d);
#pragma GCC unroll 6
      for (int t = 0; t < kT; ++t) {
        const __m512i v = load64(x + t * kBlock + 32 * j);
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i)
          p[i][t] = dot(j == 0 ? _mm512_setzero_ps() : p[i][t], w[i], v);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const __m512 scale = scale_of<kKind>(row[i], k, d);
#pragma GCC unroll 6
      for (int t = 0; t < kT; ++t)
        sum[i][t] = kKind == Kind::kBF16 ? _mm512_add_ps(p[i][t], sum[i][t])
                                         : _mm512_fmadd_ps(p[i][t], scale, sum[i][t]);
    }
  }
  if constexpr (kT > 3) {
    put_pair<kT>(a, f.t, f.r, kRows, sum);
  } else {
    if (kT == 1 || f.end == a.w.cols) return put<kT>(a, f.t, f.r, kRows, sum);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) _mm512_storeu_ps(f.sums + 16 * (kT * i + t), sum[i][t]);
  }
}

// Tokens up to which weights are decoded once more for every tile of them rather than put in a
// panel: stores take turns with products, decoding hardly does (bench/linear_bench).
constexpr std::int64_t few_tokens(Kind k) { return is_fp8(k) ? 6 : k == Kind::kFp4 ? 18 : 24; }

template <Kind kKind, int kRows>
inline void rows_times_group(const LinearArgs& a, const FewArgs& f, std::int64_t n,
                             const Decoder& d) {
  if (n == 1) rows_times_few<kKind, kRows, 1>(a, f, d);
  if (n == 2) rows_times_few<kKind, kRows, 2>(a, f, d);
  if (n == 3) rows_times_few<kKind, kRows, 3>(a, f, d);
  if constexpr (is_fp8(kKind) && kRows < 4) {
    if (n == 4) rows_times_few<kKind, kRows, 4>(a, f, d);
    if (n == 5) rows_times_few<kKind, kRows, 5>(a, f, d);
    if (n == 6) rows_times_few<kKind, kRows, 6>(a, f, d);
  }
}

// Rows [r, end), columns [k, k + step) times a group of tokens.
template <Kind kKind>
inline void rows_times_group(const LinearArgs& a, FewArgs f, std::int64_t end, std::int64_t n,
                             const Decoder& d) {
  for (; n <= 3 && f.r + 4 <= end; f.r += 4) rows_times_group<kKind, 4>(a, f, n, d);
  for (; n > 3 && f.r + 2 <= end; f.r += 2) rows_times_group<kKind, 2>(a, f, n, d);
  for (; f.r < end; ++f.r) rows_times_group<kKind, 1>(a, f, n, d);
}

// A group of tokens stays in the nearest cache while rows pass by, which it shares them with the
// next.  bf16 rows are larger: they are taken part by part, four of them at a time.
template <Kind kKind>
void times_few_tokens(const LinearArgs& a) {
  constexpr bool kParts = kKind == Kind::kBF16;
  const Decoder d = decoder<kKind, false>();
  const Groups groups = tiles_of(kKind, a.tokens);
  const bool one = groups.count == 1;
  const std::int64_t cols = a.w.cols, step = kParts && !one ? 8 * kBlock : cols;
  const std::int64_t most = kParts || one ? 4 : 16, next = most * row_bytes(a.w);
  float* sums = whole_lines(a.scratch);
  const std::uint16_t* x = packed<kKind>(a, sums + 16 * 4 * a.tokens);
  for (std::int64_t r = a.row_begin, rows; r < a.row_end; r += rows) {
    const std::int64_t left = a.row_end - r;
    rows = left < 4 ? 1 : left < most ? left / 4 * 4 : most;
    for (std::int64_t k = 0; k < cols; k += step)
      for (std::int64_t g = 0; g < groups.count; ++g) {
        const std::int64_t t = groups.begin(g), end = k + step < cols ? k + step : cols;
        const std::int64_t ahead = next > kAhead ? next : kAhead;
        rows_times_group<kKind>(a, {t, r, k, end, ahead, x + t * cols, sums + 16 * 4 * t}, r + rows,
                                groups.size(g), d);
      }
  }
}
