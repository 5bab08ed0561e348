// Many tokens: rows become bytes in scratch and meet the tokens in tiles of 4 rows x 3 tokens;
// parts of eight rows and kPartBlocks blocks, panels and blocks of tokens as in bf16_gemm.inl.

constexpr std::int64_t kGroup = 8;  // rows that are interleaved block by block
constexpr std::int64_t kPartBlocks = 2048 / kInt8Block;

struct Gemm {
  const LinearArgs& a;
  Groups tiles;
  PackedX x;
  float* sums;          // of a group of rows and a block of tokens: 64 for each half and token
  std::uint8_t* panel;  // [rows / 8][blocks][8][kInt8Block]
  float* unit;          // [rows / 8][blocks][8]
};

// Some blocks of eight rows as bytes.
struct Part {
  std::uint8_t* bytes;
  float* unit;
};

// Out of the way of the others, which are nearly all there are.
template <Kind kKind>
[[gnu::noinline]] void unpack_far(const RowReader& row, int exponent, std::int64_t k, int strips,
                                  std::uint8_t* out) {
  for (int l = 0; l < strips; ++l) {
    __m512i w[2];
    far_strip<kKind>(row, exponent, k, l, w);
    for (int j = 0; j < 2; ++j) _mm512_storeu_si512(out + 128 * l + 64 * j, w[j]);
  }
}

// A block of row i of eight; kN: its strips, or 0 for a short last block, which has `strips`.
template <Kind kKind, int kN>
inline void unpack_block(const RowReader& row, const BlockCodes<kKind>& codes, std::int64_t k,
                         int strips, std::int64_t ahead, std::int64_t i, Part out) {
  if constexpr (kN > 0) strips = kN;
  out.unit[i] = unit_of(codes.exponent);
  out.bytes += 128 * i * strips;
  if constexpr (kKind != Kind::kFp8)
    if (!codes.near) return unpack_far<kKind>(row, codes.exponent, k, strips, out.bytes);
#pragma GCC unroll 8
  for (int l = 0; l < strips; ++l) {
    __m512i w[2];
    strip<kKind>(row, codes, k, l, ahead, w);
    for (int j = 0; j < 2; ++j) _mm512_storeu_si512(out.bytes + 128 * l + 64 * j, w[j]);
  }
}

// A block of eight rows.  The tables of a row take long to find and are found while the one before
// is unpacked.
template <Kind kKind, int kN>
inline void unpack_rows(const RowReader (&row)[kGroup], std::int64_t k, int strips,
                        std::int64_t ahead, Part out) {
  if constexpr (kN > 0) strips = kN;
  BlockCodes<kKind> next = block_codes<kKind>(row[0], k, strips);
  for (std::int64_t i = 0; i < kGroup; ++i) {
    const BlockCodes<kKind> codes = next;
    if (i + 1 < kGroup) next = block_codes<kKind>(row[i + 1], k, strips);
    unpack_block<kKind, kN>(row[i], codes, k, strips, ahead, i, out);
  }
}

// Columns [k, end) of rows [r, r + 8); the same columns of the next eight are asked for meanwhile.
// Missing rows repeat the last one.
template <Kind kKind>
inline void unpack_part(const LinearArgs& a, std::int64_t r, std::int64_t k, std::int64_t end,
                        Part out) {
  const std::int64_t ahead = kGroup * row_bytes(a.w);
  RowReader row[kGroup];
  for (std::int64_t i = 0; i < kGroup; ++i)
    row[i] = row_reader(a.w, r + i < a.row_end ? r + i : a.row_end - 1);
  for (; k < end; k += kInt8Block, out.bytes += kGroup * kInt8Block, out.unit += kGroup) {
    const int strips = strips_of(a.w.cols, k);
    if (strips == kStrips)
      unpack_rows<kKind, kStrips>(row, k, strips, ahead, out);
    else
      unpack_rows<kKind, 0>(row, k, strips, ahead, out);
  }
}

// Where a block of four rows meets a block of a tile.
struct BlockAt {
  const std::uint8_t* row;  // [4][n]
  const std::int8_t* x;     // [tokens][n]
  const std::int32_t* first;
  const float *unit, *scale;
};

// kN: its columns, known for all blocks but a short last one; then 0, and they are `n`.
template <int kT, int kN>
inline void add_block(const BlockAt& at, std::int64_t n, __m512 (&sum)[4][kT]) {
  if constexpr (kN > 0) n = kN;
  alignas(16) float scales[kT][4];
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t)
    _mm_store_ps(scales[t], _mm_mul_ps(_mm_loadu_ps(at.unit), _mm_set1_ps(at.scale[t])));
  __m512i lanes[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) lanes[i][t] = _mm512_loadu_si512(at.first + 16 * t);
#pragma GCC unroll 8
  for (std::int64_t k = 0; k < n; k += 64) {
    __m512i v[kT];
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) v[t] = load64(at.x + t * n + k);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i u = load64(at.row + i * n + k);
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) lanes[i][t] = dot(lanes[i][t], u, v[t]);
    }
  }
  // Read where they are multiplied: in registers they would leave none for the sums.
  asm volatile("" : : "r"(scales) : "memory");
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) sum[i][t] = add_scaled(lanes[i][t], scales[t][i], sum[i][t]);
}

// Columns [k, end) of four rows of eight, from r on, times the kT tokens at t; the last part puts
// the results.  `rest`: sums of the parts before and after.
template <int kT>
void tile(const Gemm& g, Part w, std::int64_t half, std::int64_t r, std::int64_t k,
          std::int64_t end, std::int64_t t, float* rest) {
  const std::int64_t cols = g.x.cols;
  __m512 sum[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kT; ++j)
      sum[i][j] = k == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(rest + 16 * (i * kT + j));
  for (; k < end; k += kInt8Block, w.bytes += kGroup * kInt8Block, w.unit += kGroup) {
    const std::int64_t n = 128 * strips_of(cols, k), at = t * g.x.blocks + k / kInt8Block * kT;
    const BlockAt block{w.bytes + half * 4 * n, g.x.x + t * cols + kT * k, g.x.first + 16 * at,
                        w.unit + half * 4, g.x.scale + at};
    if (n == kInt8Block)
      add_block<kT, kInt8Block>(block, n, sum);
    else
      add_block<kT, 0>(block, n, sum);
  }
  if (end == cols) return put<kT>(g.a, t, r, g.a.row_end - r, sum);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int j = 0; j < kT; ++j) _mm512_storeu_ps(rest + 16 * (i * kT + j), sum[i][j]);
}

// A part of rows [r, r + 8) times tiles [first, last).
inline void part_times_tiles(const Gemm& g, Part part, std::int64_t r, std::int64_t k,
                             std::int64_t end, std::int64_t first, std::int64_t last) {
  float* sums = g.sums;
  for (std::int64_t i = first; i < last; ++i)
    for (std::int64_t h = 0; h < 2 && r + 4 * h < g.a.row_end; ++h, sums += 64 * kTile)
      (g.tiles.size(i) == 2 ? tile<2> : tile<3>)(g, part, h, r + 4 * h, k, end, g.tiles.begin(i),
                                                 sums);
}

// 4 tokens or more; `rows`: of a panel.
template <Kind kKind>
inline void many(const Gemm& g, std::int64_t rows) {
  const LinearArgs& a = g.a;
  const std::int64_t cols = a.w.cols, step = kPartBlocks * kInt8Block, block = block_tiles(cols);
  const bool once = g.tiles.count <= block;  // one part serves them all
  for (std::int64_t r0 = a.row_begin; r0 < a.row_end; r0 += rows)
    for (std::int64_t t = 0; t < g.tiles.count; t += block) {
      const std::int64_t last = t + block < g.tiles.count ? t + block : g.tiles.count;
      for (std::int64_t r = r0; r < r0 + rows && r < a.row_end; r += kGroup)
        for (std::int64_t k = 0; k < cols; k += step) {
          const std::int64_t end = k + step < cols ? k + step : cols;
          const std::int64_t at = once ? 0 : (r - r0) * g.x.blocks / kGroup + k / kInt8Block;
          const Part part{g.panel + at * kGroup * kInt8Block, g.unit + at * kGroup};
          if (t == 0) unpack_part<kKind>(a, r, k, end, part);
          part_times_tiles(g, part, r, k, end, t, last);
        }
    }
}
