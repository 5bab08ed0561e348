// Many tokens: eight rows of W become scaled bf16 once, in scratch, and meet the packed tokens in
// register tiles of 4 rows x 3 tokens: 12 sums of all blocks, 12 of the block in work.
// Rows and tokens are interleaved block by block: streams 8 KiB apart would share one set of the
// first-level cache and run at half the speed (bench/linear_bench).

constexpr int kTileTokens = 3;
constexpr std::int64_t kPart = 8;  // blocks of 8 rows and 3 tokens that stay in that cache

// kLift - scale for the words of each 32-column block of a register of words_fp4.
inline __m512i fp4_drop(const std::uint8_t* s) {
  std::int32_t four;
  std::memcpy(&four, s, sizeof four);
  const __m512i spread = _mm512_setr_epi64(
      0x8000800080008000, 0x8000800080008000, 0x8001800180018001, 0x8001800180018001,
      0x8002800280028002, 0x8002800280028002, 0x8003800380038003, 0x8003800380038003);
  const __m512i scale = _mm512_shuffle_epi8(_mm512_set1_epi32(four), spread);
  return _mm512_slli_epi16(_mm512_sub_epi16(_mm512_set1_epi16(127 + 64), scale), 7);
}

template <Format kFormat>
inline __m512i drop_of(const RowReader& row, std::int64_t k) {
  if constexpr (kFormat == Format::kFp4) return fp4_drop(row.scale + k / 32);
  return _mm512_set1_epi16(static_cast<short>((127 + 64 - row.scale[k / 128]) * 128));
}

// A row as bf16 with its scales, in the order of the format, a block every `step` words.  The
// same row of the next eight is asked for: it comes while this one meets its tokens.
template <Format kFormat>
inline void unpack_row(const RowReader& row, std::int64_t cols, const Decoder& d,
                       std::uint16_t* out, std::int64_t step) {
  constexpr std::int64_t kNibbles = kFormat == Format::kBF16 ? 4 : kFormat == Format::kFp8 ? 2 : 1;
  const std::int64_t ahead = 8 * cols * kNibbles / 2;
  for (std::int64_t k = 0; k < cols; k += kBlock, out += step) {
    Words w = words_of<kFormat, true>(row, k, d, ahead);
    if constexpr (kFormat != Format::kBF16) {
      const __m512i drop = drop_of<kFormat>(row, k);
      for (int j = 0; j < 4; ++j) w.v[j] = _mm512_subs_epu16(w.v[j], drop);
    }
    for (int j = 0; j < 4; ++j) _mm512_storeu_si512(out + 32 * j, w.v[j]);
  }
}

// Four rows of weights, blocks of 128 columns.
struct Rows {
  const std::uint16_t* row[4];
  std::int64_t step;  // words from one block of a row to the next
};

// Blocks [b0, b1) of four rows times kT tokens, into sums [4][kT].
template <int kT>
inline void tile(const Rows& w, const std::uint16_t* x, std::int64_t b0, std::int64_t b1,
                 float* sums) {
  __m512 sum[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
      sum[i][t] = b0 == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + 16 * (i * kT + t));
  for (std::int64_t b = b0; b < b1; ++b) {
    const std::uint16_t* at = x + b * kT * kBlock;
    __m512 p[4][kT];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m512i u[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) u[i] = load64(w.row[i] + b * w.step + 32 * j);
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) {
        const __m512i v = load64(at + t * kBlock + 32 * j);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) p[i][t] = dot(j == 0 ? _mm512_setzero_ps() : p[i][t], u[i], v);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) sum[i][t] = _mm512_add_ps(p[i][t], sum[i][t]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) _mm512_storeu_ps(sums + 16 * (i * kT + t), sum[i][t]);
}

using Tile = void (*)(const Rows&, const std::uint16_t*, std::int64_t, std::int64_t, float*);
constexpr Tile kTiles[kTileTokens + 1] = {nullptr, tile<1>, tile<2>, tile<3>};

// Rows r0... of W as bf16; missing rows repeat the last one, their sums are not stored.  Rows that
// are bf16 already are copied when several tiles of tokens meet them.
template <Format kFormat>
inline Rows four_rows(const LinearArgs& a, const Decoder& d, std::int64_t r0, int rows, bool copy,
                      std::uint16_t* panel) {
  copy = copy || kFormat != Format::kBF16;
  Rows w{{}, copy ? 4 * kBlock : kBlock};
  for (int i = 0; i < 4; ++i) {
    const RowReader row = row_reader(a.w, r0 + (i < rows ? i : rows - 1));
    w.row[i] = copy ? panel + i * kBlock : reinterpret_cast<const std::uint16_t*>(row.data);
    if (copy) unpack_row<kFormat>(row, a.w.cols, d, panel + i * kBlock, w.step);
  }
  return w;
}

inline std::int64_t tile_tokens(std::int64_t left) {
  return left < kTileTokens ? left : kTileTokens;
}

// Two groups of four rows times `n` packed tokens, the first of which is token t0: a tile of
// tokens is in the first-level cache when the second group meets it.
inline void rows_times_tokens(const LinearArgs& a, const Rows* w, std::int64_t r0, int rows,
                              const std::uint16_t* x, std::int64_t t0, std::int64_t n,
                              float* sums) {
  const std::int64_t cols = a.w.cols, blocks = cols / kBlock;
  const int groups = rows > 4 ? 2 : 1;
  for (std::int64_t b = 0; b < blocks; b += kPart) {
    const std::int64_t end = blocks - b < kPart ? blocks : b + kPart;
    for (std::int64_t t = 0; t < n; t += kTileTokens)
      for (int g = 0; g < groups; ++g)
        kTiles[tile_tokens(n - t)](w[g], x + t * cols, b, end, sums + 64 * (g * n + t));
  }
  for (int g = 0; g < groups; ++g)
    for (std::int64_t t = 0; t < n; t += kTileTokens) {
      const std::int64_t m = tile_tokens(n - t);
      const float* s = sums + 64 * (g * n + t);
      for (std::int64_t i = 0; i < m; ++i)
        put(a, t0 + t + i, r0 + 4 * g, rows - 4 * g < 4 ? rows - 4 * g : 4,
            fold(_mm512_loadu_ps(s + 16 * i), _mm512_loadu_ps(s + 16 * (m + i)),
                 _mm512_loadu_ps(s + 16 * (2 * m + i)), _mm512_loadu_ps(s + 16 * (3 * m + i))));
    }
}

template <Format kFormat>
void many_tokens(const LinearArgs& a) {
  const Decoder d = decoder<kFormat, true>();
  const std::int64_t cols = a.w.cols, most = linear_tokens(cols);
  float* sums = whole_lines(a.scratch);
  auto* panel = reinterpret_cast<std::uint16_t*>(sums + 2 * 64 * most);
  std::uint16_t* x = panel + 8 * cols;
  for (std::int64_t t0 = 0; t0 < a.tokens; t0 += most) {
    const std::int64_t n = a.tokens - t0 < most ? a.tokens - t0 : most;
    for (std::int64_t t = 0; t < n; ++t) {
      const std::int64_t m = tile_tokens(n - t / kTileTokens * kTileTokens);
      pack_x<kFormat>(token_row(a, t0 + t), cols,
                      x + t / kTileTokens * kTileTokens * cols + t % kTileTokens * kBlock,
                      m * kBlock);
    }
    const bool copy = n > kTileTokens;
    for (std::int64_t r = a.row_begin; r < a.row_end; r += 8) {
      const int rows = a.row_end - r < 8 ? static_cast<int>(a.row_end - r) : 8;
      const Rows w[2] = {
          four_rows<kFormat>(a, d, r, rows, copy, panel),
          rows > 4 ? four_rows<kFormat>(a, d, r + 4, rows - 4, copy, panel + 4 * cols) : Rows{}};
      rows_times_tokens(a, w, r, rows, x, t0, n, sums);
    }
  }
}
