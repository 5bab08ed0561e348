// fp4 rows in pairs with up to kPairTokens tokens: codes become bytes in registers, once more for
// every six tokens, where a panel would have to be stored for them.
//
// Of kPairRows rows the tables are found first; then a group of tokens stays in the nearest cache
// while these rows pass by.  Rows with scales far apart go alone.

constexpr std::int64_t kPairRows = 16, kPairTokens = 12;

struct Pairs {
  const LinearArgs& a;
  PackedX x;            // in tiles of up to six tokens
  std::uint8_t* table;  // [kPairRows][blocks][kStrips / 4][16], see BlockCodes
  float* unit;          // [kPairRows / 2][blocks][2]
  bool near[kPairRows / 2];
};

// Tables and units of a row, two blocks at a time; is every block near (block_codes_fp4)?
inline bool row_tables(const std::uint8_t* scale, std::int64_t blocks, std::uint8_t* table,
                       float* unit) {
  static_assert(kInt8Block == 1024);
  const __m512i ones = _mm512_set1_epi8(-1);
  __m512i all = _mm512_setzero_si512();
  for (std::int64_t b = 0; b < blocks; b += 2, unit += 4) {
    const __m512i rest = _mm512_xor_si512(load64(scale + 32 * b), ones);  // 255 - scale
    __m512i least = _mm512_min_epu8(rest, _mm512_shuffle_i64x2(rest, rest, 0xb1));
    least = _mm512_min_epu8(least, _mm512_bsrli_epi128(least, 8));
    least = _mm512_min_epu8(least, _mm512_bsrli_epi128(least, 4));
    least = _mm512_min_epu8(least, _mm512_bsrli_epi128(least, 2));
    least = _mm512_min_epu8(least, _mm512_bsrli_epi128(least, 1));
    least = _mm512_shuffle_epi8(least, _mm512_setzero_si512());
    const __m512i below = _mm512_sub_epi8(rest, least);
    all = _mm512_or_si512(all, below);
    _mm512_store_si512(table + 32 * b, _mm512_slli_epi16(below, 4));
    // 2^(E - 6) with E = 2 over the greatest scale
    const __m512 two = _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_sub_epi32(_mm512_set1_epi32(255 + 2 - 6), _mm512_srli_epi32(least, 24)), 23));
    _mm_store_ss(unit, _mm512_castps512_ps128(two));
    _mm_store_ss(unit + 2, _mm512_extractf32x4_ps(two, 2));
  }
  return _mm512_test_epi8_mask(all, _mm512_set1_epi8(char(0xfc))) == 0;
}

// The tables of rows [r, r + rows).
inline void find_tables(Pairs& g, std::int64_t r, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const bool near = row_tables(row_reader(g.a.w, r + i).scale, g.x.blocks,
                                 g.table + i * g.x.blocks * 4 * kStrips,
                                 g.unit + 2 * (i / 2 * g.x.blocks) + i % 2);
    bool& both = g.near[i / 2];
    both = near && (i % 2 == 0 ? i + 1 < rows : both);
  }
}

// Strip s of the pair's block from column k on: two registers of bytes for each row.  Tables are
// loaded where they are used: sums take nearly all registers.
inline void pair_strip(const RowReader (&row)[2], const std::uint8_t* const (&table)[2],
                       std::int64_t k, int s, __m512i (&w)[2][2]) {
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const std::uint8_t* at = row[i].data + k / 2 + 64 * s;
    prefetch(at, kAhead);
    const auto* of = reinterpret_cast<const __m128i*>(table[i]) + s / 4;
    int8_near(load64(at),
              _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128(of)),
                                  load64(kLaneBytes.byte[s % 4])),
              w[i]);
  }
}

// Rows r and r + 1, the pair `pair` of the tables, times the kT tokens at t.
template <int kT>
void pair_times_tokens(const Pairs& g, std::int64_t pair, std::int64_t r, std::int64_t t) {
  const RowReader row[2] = {row_reader(g.a.w, r), row_reader(g.a.w, r + 1)};
  const std::int64_t row_tables = g.x.blocks * 4 * kStrips;
  const std::uint8_t* table[2] = {g.table + 2 * pair * row_tables,
                                  g.table + (2 * pair + 1) * row_tables};
  const std::int32_t* first = g.x.first + 16 * t * g.x.blocks;
  const std::int8_t* x = g.x.x + t * g.x.cols;
  __m512 sum[2][kT] = {};
  for (std::int64_t b = 0; b < g.x.blocks; ++b, x += kT * kInt8Block) {
    alignas(16) float scales[kT][4];
    __m512i lanes[2][kT];
#pragma GCC unroll 6
    for (int j = 0; j < kT; ++j) {
      const __m128 unit = _mm_castsi128_ps(_mm_loadu_si64(g.unit + 2 * (pair * g.x.blocks + b)));
      _mm_store_ps(scales[j],
                   _mm_mul_ps(unit, _mm_set1_ps(g.x.scale[t * g.x.blocks + b * kT + j])));
      lanes[0][j] = lanes[1][j] = _mm512_loadu_si512(first + 16 * (b * kT + j));
    }
    for (int s = 0; s < kStrips; ++s) {
      __m512i w[2][2];
      pair_strip(row, table, b * kInt8Block, s, w);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h)
#pragma GCC unroll 6
        for (int j = 0; j < kT; ++j) {
          const __m512i v = load64(x + j * kInt8Block + 128 * s + 64 * h);
          lanes[0][j] = dot(lanes[0][j], w[0][h], v);
          lanes[1][j] = dot(lanes[1][j], w[1][h], v);
        }
    }
    asm volatile("" : : "r"(scales) : "memory");  // see add_block
    for (int i = 0; i < 2; ++i) table[i] += 4 * kStrips;
#pragma GCC unroll 6
    for (int j = 0; j < kT; ++j)
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) sum[i][j] = add_scaled(lanes[i][j], scales[j][i], sum[i][j]);
  }
  put_pair<kT>(g.a, t, r, 2, sum);
}

// A row that has no partner or scales far apart.
template <int kT>
[[gnu::noinline]] void row_times_tokens(const Pairs& g, std::int64_t r, std::int64_t t) {
  const RowReader row = row_reader(g.a.w, r);
  const std::int64_t skip = t * g.x.blocks;
  const PackedX x{g.x.x + t * g.x.cols, g.x.first + 16 * skip, g.x.scale + skip, g.x.cols,
                  g.x.blocks};
  __m512 sum[2][kT] = {};
  for (std::int64_t b = 0; b < x.blocks; ++b)
    add_row_block<Kind::kFp4, kT, kStrips>(
        row, block_codes<Kind::kFp4>(row, b * kInt8Block, kStrips), b, x, sum[0]);
  put_pair<kT>(g.a, t, r, 1, sum);
}

template <int kT>
inline void rows_times_group(const Pairs& g, std::int64_t r, std::int64_t rows, std::int64_t t) {
  for (std::int64_t i = 0; i < rows; i += 2) {
    if (g.near[i / 2]) {
      pair_times_tokens<kT>(g, i / 2, r + i, t);
      continue;
    }
    for (std::int64_t j = i; j < i + 2 && j < rows; ++j) row_times_tokens<kT>(g, r + j, t);
  }
}

inline bool pairs_fit(const LinearArgs& a) {
  return a.w.format == Format::kFp4 && a.tokens <= kPairTokens && a.w.cols % (2 * kInt8Block) == 0;
}

inline void pairs(Pairs g, const Groups& groups) {
  const LinearArgs& a = g.a;
  g.unit = reinterpret_cast<float*>(g.table + kPairRows * g.x.blocks * 4 * kStrips);
  for (std::int64_t r = a.row_begin, rows; r < a.row_end; r += rows) {
    rows = a.row_end - r < kPairRows ? a.row_end - r : kPairRows;
    find_tables(g, r, rows);
    for (std::int64_t i = 0; i < groups.count; ++i) {
      const std::int64_t t = groups.begin(i), n = groups.size(i);
      if (n == 1) rows_times_group<1>(g, r, rows, t);
      if (n == 2) rows_times_group<2>(g, r, rows, t);
      if (n == 3) rows_times_group<3>(g, r, rows, t);
      if (n == 4) rows_times_group<4>(g, r, rows, t);
      if (n == 5) rows_times_group<5>(g, r, rows, t);
      if (n == 6) rows_times_group<6>(g, r, rows, t);
    }
  }
}
