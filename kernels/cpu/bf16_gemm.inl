// Many tokens: parts of eight rows of W become scaled bf16 in the first-level cache and meet the
// packed tokens in register tiles of 4 rows x 3 tokens: 12 sums of all blocks, 12 of the block in
// work.  With few tokens tiles unpack the next part as they go, so that memory does not wait for
// arithmetic; with many, whose sums no longer fit that cache, longer parts take turns with tiles.
// Rows and tokens are interleaved block by block: streams 8 KiB apart would share one set of the
// cache and run at half the speed.

constexpr std::int64_t kPanelRows = 8;
constexpr std::int64_t kAlong = 12;  // tokens up to which tiles unpack (bench/linear_bench)

// Blocks of a part: two short ones or a long one and 3 tokens fit that cache.
constexpr std::int64_t part_blocks(std::int64_t tokens) { return tokens <= kAlong ? 4 : 8; }

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

// Columns [k, k + 128) of a row as bf16 with their scales, in the order of the format.  The same
// columns eight rows on are asked for: they come while these meet their tokens.
template <Format kFormat>
inline void unpack_block(const RowReader& row, std::int64_t k, std::int64_t ahead, const Decoder& d,
                         std::uint16_t* out) {
  Words w = words_of<kFormat, true>(row, k, d, ahead);
  if constexpr (kFormat == Format::kFp4) {
    const __m512i drop = fp4_drop(row.scale + k / 32);
    for (int j = 0; j < 4; ++j) w.v[j] = dropped(w.v[j], drop);
  }
  for (int j = 0; j < 4; ++j) _mm512_storeu_si512(out + 32 * j, w.v[j]);
}

// A part of W and where it goes: block b of row i to out[(8 b + i) kBlock].  Missing rows repeat
// the last one, their sums are not stored.
struct Part {
  RowReader row[kPanelRows];
  std::int64_t k, blocks, ahead;
  std::uint16_t* out;
};

template <Format kFormat>
inline void unpack_rows(const Part& p, int begin, int end, const Decoder& d) {
  for (int i = begin; i < end; ++i)
    for (std::int64_t b = 0; b < p.blocks; ++b)
      unpack_block<kFormat>(p.row[i], p.k + b * kBlock, p.ahead, d,
                            p.out + (kPanelRows * b + i) * kBlock);
}

// What a tile multiplies: `blocks` blocks of four rows with kT tokens, into sums [4][kT].
struct TileArgs {
  const std::uint16_t *w, *x;
  std::int64_t blocks;
  bool first;  // sums begin at zero
  float* sums;
};

// Also unpacks kNext rows of another part of as many blocks, from row i on.
template <Format kFormat, int kT, int kNext>
void tile(const TileArgs& a, const Part& next, int i0, const Decoder& d) {
  __m512 sum[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
      sum[i][t] = a.first ? _mm512_setzero_ps() : _mm512_loadu_ps(a.sums + 16 * (i * kT + t));
  for (std::int64_t b = 0; b < a.blocks; ++b) {
#pragma GCC unroll 2
    for (int i = 0; i < kNext; ++i)
      unpack_block<kFormat>(next.row[i0 + i], next.k + b * kBlock, next.ahead, d,
                            next.out + (kPanelRows * b + i0 + i) * kBlock);
    const std::uint16_t *w = a.w + kPanelRows * b * kBlock, *x = a.x + b * kT * kBlock;
    __m512 p[4][kT];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m512i v[kT];
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) v[t] = load64(x + t * kBlock + 32 * j);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m512i u = load64(w + i * kBlock + 32 * j);
#pragma GCC unroll 3
        for (int t = 0; t < kT; ++t) p[i][t] = dot(j == 0 ? _mm512_setzero_ps() : p[i][t], u, v[t]);
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
    for (int t = 0; t < kT; ++t) _mm512_storeu_ps(a.sums + 16 * (i * kT + t), sum[i][t]);
}

// A tile of one token would load more than it multiplies.
inline int tile_tokens(std::int64_t left) { return left == 4 || left <= 2 ? 2 : 3; }

// A part's eight rows times `n` packed tokens: 2 tiles x 2 groups at least, each of which unpacks
// its share of the next part.
template <Format kFormat>
inline void part_times_tokens(const Part& part, const Part& next, std::int64_t cols,
                              const std::uint16_t* x, std::int64_t n, float* sums,
                              const Decoder& d) {
  using Tile = void (*)(const TileArgs&, const Part&, int, const Decoder&);
  static constexpr Tile kTiles[2][3] = {
      {tile<kFormat, 2, 0>, tile<kFormat, 2, 1>, tile<kFormat, 2, 2>},
      {tile<kFormat, 3, 0>, tile<kFormat, 3, 1>, tile<kFormat, 3, 2>}};
  const int calls = 2 * static_cast<int>((n + 2) / 3);
  const bool along = n <= kAlong && next.blocks == part.blocks;
  int call = 0;
  for (std::int64_t t = 0, m; t < n; t += m) {
    m = tile_tokens(n - t);
    for (int g = 0; g < 2; ++g, ++call) {
      const int i0 = 8 * call / calls, i1 = 8 * (call + 1) / calls;
      kTiles[m - 2][along ? i1 - i0 : 0]({part.out + 4 * g * kBlock, x + t * cols + part.k * m,
                                          part.blocks, part.k == 0, sums + 64 * (g * n + t)},
                                         next, i0, d);
    }
  }
  if (!along) unpack_rows<kFormat>(next, 0, kPanelRows, d);
}

template <int kT>
inline void put_tile(const LinearArgs& a, std::int64_t t, std::int64_t r, std::int64_t rows,
                     const float* sums) {
  __m512 sum[4][kT];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < kT; ++j) sum[i][j] = _mm512_loadu_ps(sums + 16 * (kT * i + j));
  put<kT>(a, t, r, rows, sum);
}

// Rows [r, r + rows) from their sums.
inline void put_rows(const LinearArgs& a, std::int64_t r, std::int64_t rows, const float* sums) {
  for (int g = 0; 4 * g < rows; ++g)
    for (std::int64_t t = 0, m; t < a.tokens; t += m) {
      m = tile_tokens(a.tokens - t);
      (m == 2 ? put_tile<2> : put_tile<3>)(a, t, r + 4 * g, rows - 4 * g,
                                           sums + 64 * (g * a.tokens + t));
    }
}

// Block after block of a tile's tokens.
template <Format kFormat>
inline void pack_tokens(const LinearArgs& a, std::uint16_t* x) {
  for (std::int64_t t = 0, m; t < a.tokens; t += m) {
    m = tile_tokens(a.tokens - t);
    for (std::int64_t i = 0; i < m; ++i)
      pack_x<kFormat>(token_row(a, t + i), a.w.cols, x + t * a.w.cols + i * kBlock, m * kBlock);
  }
}

template <Format kFormat>
inline Part part_at(const LinearArgs& a, std::int64_t r, std::int64_t k, std::uint16_t* out) {
  constexpr std::int64_t kNibbles = kFormat == Format::kBF16 ? 4 : kFormat == Format::kFp8 ? 2 : 1;
  const std::int64_t left = (a.w.cols - k) / kBlock, most = part_blocks(a.tokens);
  Part p{{}, k, left < most ? left : most, kPanelRows * a.w.cols * kNibbles / 2, out};
  for (std::int64_t i = 0; i < kPanelRows; ++i)
    p.row[i] = row_reader(a.w, r + i < a.row_end ? r + i : a.row_end - 1);
  return p;
}

// 4 to linear_tokens(cols) tokens.
template <Format kFormat>
void many_tokens(const LinearArgs& a) {
  const Decoder d = decoder<kFormat, true>();
  const std::int64_t step = part_blocks(a.tokens) * kBlock;
  float* sums = whole_lines(a.scratch);
  auto* panel = reinterpret_cast<std::uint16_t*>(sums + 2 * 64 * a.tokens);
  std::uint16_t* x = panel + 8 * kPanelRows * kBlock;
  pack_tokens<kFormat>(a, x);
  Part part = part_at<kFormat>(a, a.row_begin, 0, panel);
  unpack_rows<kFormat>(part, 0, kPanelRows, d);
  for (std::int64_t r = a.row_begin, turn = 1; r < a.row_end; r += kPanelRows) {
    for (std::int64_t k = 0; k < a.w.cols; k += step, ++turn) {
      const bool last = k + step >= a.w.cols;
      std::uint16_t* room = a.tokens <= kAlong ? panel + turn % 2 * step * kPanelRows : panel;
      Part next = part_at<kFormat>(a, last ? r + kPanelRows : r, last ? 0 : k + step, room);
      if (last && r + kPanelRows >= a.row_end) next.blocks = 0;
      part_times_tokens<kFormat>(part, next, a.w.cols, x, a.tokens, sums, d);
      part = next;
    }
    put_rows(a, r, a.row_end - r < kPanelRows ? a.row_end - r : kPanelRows, sums);
  }
}
