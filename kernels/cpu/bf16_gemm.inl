// Many tokens: rows of W become scaled bf16 words in a panel and meet the packed tokens in register
// tiles of 4 rows x 3 tokens: 12 sums of all blocks, 12 of the block in work.  Rows and tokens are
// interleaved block by block: streams 8 KiB apart would share one set of the nearest cache and run
// at half the speed.
//
// Parts of eight rows and eight blocks and the sums of a block of tokens stay in the nearest cache,
// a panel of rows and a block of tokens in the second-level cache: rows are unpacked once for all
// tokens of a call, while they meet the first block of them.

constexpr std::int64_t kPartBlocks = 8;

struct Gemm {
  const LinearArgs& a;
  const Decoder d;
  const Groups tiles;
  float* sums;             // of a group of rows and a block of tokens: 64 for each half and token
  std::uint16_t* panel;    // [rows / 8][blocks][8][kBlock]
  const std::uint16_t* x;  // packed tokens
};

// What a tile multiplies: `blocks` blocks of four rows with kT tokens, into sums [4][kT].
struct TileArgs {
  const std::uint16_t *w, *x;
  std::int64_t blocks;
  bool first;  // sums begin at zero
  float* sums;
};

template <int kT>
void tile(const TileArgs& a) {
  __m512 sum[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
      sum[i][t] = a.first ? _mm512_setzero_ps() : _mm512_loadu_ps(a.sums + 16 * (i * kT + t));
  const std::uint16_t *w = a.w, *x = a.x;
  for (std::int64_t b = 0; b < a.blocks; ++b, w += kGroup * kBlock, x += kT * kBlock) {
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

template <int kT>
inline void put_tile(const LinearArgs& a, std::int64_t t, std::int64_t r, const float* sums) {
  __m512 sum[4][kT];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < kT; ++j) sum[i][j] = _mm512_loadu_ps(sums + 16 * (kT * i + j));
  put<kT>(a, t, r, a.row_end - r, sum);
}

// A part of rows [r, r + 8) times tiles [begin, end).
inline void part_times_tiles(const Gemm& g, const std::uint16_t* part, std::int64_t r,
                             std::int64_t k, std::int64_t blocks, std::int64_t begin,
                             std::int64_t end) {
  const std::int64_t cols = g.a.w.cols;
  float* sums = g.sums;
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t t = g.tiles.begin(i), n = g.tiles.size(i);
    const std::uint16_t* x = g.x + t * cols + k * n;
    for (std::int64_t h = 0; h < 2 && r + 4 * h < g.a.row_end; ++h, sums += 64 * kTile) {
      (n == 2 ? tile<2> : tile<3>)({part + 4 * h * kBlock, x, blocks, k == 0, sums});
      if (k + blocks * kBlock == cols)
        (n == 2 ? put_tile<2> : put_tile<3>)(g.a, t, r + 4 * h, sums);
    }
  }
}

// 4 tokens or more.
template <Kind kKind>
void many_tokens(const LinearArgs& a) {
  const std::int64_t cols = a.w.cols, fit = kLinearPanel / 2 / cols / kGroup * kGroup;
  const Groups tiles{a.tokens, kTile};
  const std::int64_t block = block_tiles(2 * cols);
  const bool once = tiles.count <= block;  // one part serves them all
  const std::int64_t rows = once || fit < kGroup ? kGroup : fit;
  float* sums = whole_lines(a.scratch);
  auto* panel = reinterpret_cast<std::uint16_t*>(sums + 2 * 64 * kTokenBlock);
  const std::int64_t room = once ? kGroup * kPartBlocks * kBlock : rows * cols;
  const Gemm g{a, decoder<kKind, true>(), tiles, sums, panel, packed<kKind>(a, panel + room)};
  for (std::int64_t r0 = a.row_begin; r0 < a.row_end; r0 += rows)
    for (std::int64_t t = 0; t < tiles.count; t += block) {
      const std::int64_t end = t + block < tiles.count ? t + block : tiles.count;
      for (std::int64_t r = r0; r < r0 + rows && r < a.row_end; r += kGroup)
        for (std::int64_t k = 0; k < cols; k += kPartBlocks * kBlock) {
          const std::int64_t left = (cols - k) / kBlock;
          const std::int64_t blocks = left < kPartBlocks ? left : kPartBlocks;
          std::uint16_t* part = once ? panel : panel + (r - r0) * cols + k * kGroup;
          if (t == 0) unpack_part<kKind>(a, r, k, blocks, g.d, part);
          part_times_tiles(g, part, r, k, blocks, t, end);
        }
    }
}
