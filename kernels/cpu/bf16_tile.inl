// The register tile of bf16_gemm.inl: 4 rows x 3 tokens, 12 sums of all blocks and 12 of the block
// in work.

// Eight rows of W and where a part of them goes: block b of row i to out[(8 b + i) kBlock].
// Missing rows repeat the last one, their sums are not stored.
constexpr std::int64_t kGroup = 8;

struct Part {
  RowReader row[kGroup];
  std::int64_t k, blocks, ahead;
  std::uint16_t* out;
};

// `blocks` blocks of four rows of a group and of kT tokens.
struct TileArgs {
  const std::uint16_t *w, *x;
  std::int64_t blocks;
  bool first, last;  // sums begin at zero; they end in y
  float* sums;       // [4][kT] registers
  std::int64_t token, row, rows;
};

// Also unpacks kNext rows of another part of as many blocks, from row i0 on: memory does not wait
// for arithmetic.
template <Format kFormat, int kT, int kNext>
void tile(const LinearArgs& args, const TileArgs& a, const Part& next, int i0, const Decoder& d) {
  __m512 sum[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
      sum[i][t] = a.first ? _mm512_setzero_ps() : _mm512_loadu_ps(a.sums + 16 * (i * kT + t));
  const std::uint16_t *w = a.w, *x = a.x;
  const RowReader row0 = next.row[i0], row1 = next.row[kNext > 1 ? i0 + 1 : i0],
                  row2 = next.row[kNext > 2 ? i0 + 2 : i0];
  const std::int64_t k = next.k, ahead = next.ahead;
  std::uint16_t* out = next.out + i0 * kBlock;
  for (std::int64_t b = 0, blocks = a.blocks; b < blocks; ++b) {
    Unpack<kFormat> u0, u1, u2;
    if constexpr (kNext > 0) u0.start(row0, k + b * kBlock, ahead);
    if constexpr (kNext > 1) u1.start(row1, k + b * kBlock, ahead);
    if constexpr (kNext > 2) u2.start(row2, k + b * kBlock, ahead);
    __m512 p[4][kT];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m512i v[kT];
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) v[t] = load64(x + t * kBlock + 32 * j);
      if constexpr (kNext > 0) u0.put(j, d, out);
      if constexpr (kNext > 1) u1.put(j, d, out + kBlock);
      if constexpr (kNext > 2) u2.put(j, d, out + 2 * kBlock);
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
    w += kGroup * kBlock;
    x += kT * kBlock;
    out += kGroup * kBlock;
  }
  if (a.last) return put<kT>(args, a.token, a.row, a.rows, sum);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) _mm512_storeu_ps(a.sums + 16 * (i * kT + t), sum[i][t]);
}

// A tile of one token would load more than it multiplies.
inline int tile_tokens(std::int64_t left) { return left == 4 || left <= 2 ? 2 : 3; }

template <Format kFormat>
using Tile = void (*)(const LinearArgs&, const TileArgs&, const Part&, int, const Decoder&);

template <Format kFormat>
constexpr Tile<kFormat> kTiles[2][4] = {
    {tile<kFormat, 2, 0>, tile<kFormat, 2, 1>, tile<kFormat, 2, 2>, tile<kFormat, 2, 3>},
    {tile<kFormat, 3, 0>, tile<kFormat, 3, 1>, tile<kFormat, 3, 2>, tile<kFormat, 3, 3>}};
