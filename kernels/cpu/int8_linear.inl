// linear_int8 on VNNI.  Order of sums, the same for few tokens and for many: sixteen lanes of exact
// integers for each block, as float32 times the block's scales added to the sum; lanes are folded
// last.  Few tokens: weights go from memory through registers into sums.  Many: eight rows become
// bytes in scratch and meet the tokens in tiles of 4 rows x 3 tokens, as in bf16_gemm.inl.

constexpr std::int64_t kInt8Few = 3;   // tokens of a tile
constexpr std::int64_t kInt8Part = 4;  // blocks of 8 rows and 3 tokens stay in the nearest cache
constexpr std::int64_t kInt8Ahead = 16384;

inline __m512i dot(__m512i sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, w, x); }

// sum + lanes * unit * scale
inline __m512 add_scaled(__m512i lanes, float scales, __m512 sum) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(lanes), _mm512_set1_ps(scales), sum);
}

// ---- few

template <Format kFormat, int kT>
inline void add_block(const RowReader& row, std::int64_t b, const PackedX& p, __m512* sum) {
  const std::int64_t k = b * kInt8Block;
  const int quarters = quarters_of(p.cols, k);
  const BlockCodes<kFormat> codes = block_codes<kFormat>(row, k, quarters);
  const std::int8_t* x = p.x + kT * k;
  __m512i lanes[kT];
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t) lanes[t] = _mm512_loadu_si512(p.first + 16 * (b * kT + t));
  for (int l = 0; l < quarters; ++l) {
    __m512i w[2];
    quarter<kFormat>(row, codes, k, l, kInt8Ahead, w);
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j)
        lanes[t] = dot(lanes[t], w[j], load64(x + 128 * (t * quarters + l) + 64 * j));
  }
  const float unit = unit_of(codes.exponent);
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t) sum[t] = add_scaled(lanes[t], unit * p.scale[b * kT + t], sum[t]);
}

template <Format kFormat, int kT>
inline void few(const LinearArgs& a, const PackedX& p) {
  for (std::int64_t r = a.row_begin; r < a.row_end; r += 4) {
    const int rows = a.row_end - r < 4 ? static_cast<int>(a.row_end - r) : 4;
    __m512 sum[4][kT] = {};
    RowReader row[4];
    for (int i = 0; i < rows; ++i) row[i] = row_reader(a.w, r + i);
    for (std::int64_t b = 0; b < p.blocks; ++b)
      for (int i = 0; i < rows; ++i) add_block<kFormat, kT>(row[i], b, p, sum[i]);
    for (int t = 0; t < kT; ++t)
      put(a, t, r, rows, fold(sum[0][t], sum[1][t], sum[2][t], sum[3][t]));
  }
}

// ---- many

// Eight rows as bytes: two groups of four, within a group block by block.
struct Panel {
  std::uint8_t* bytes;
  float* unit;  // [group][block][row]
};

// A row of W into place i of a group; the same row of the next eight is asked for meanwhile.
template <Format kFormat>
inline void unpack_row(const RowReader& row, std::int64_t cols, int i, std::uint8_t* out,
                       float* unit) {
  const std::int64_t ahead = kFormat == Format::kFp8 ? 8 * cols : 4 * cols;
  for (std::int64_t k = 0; k < cols; k += kInt8Block, out += 4 * kInt8Block, unit += 4) {
    const int quarters = quarters_of(cols, k);
    const BlockCodes<kFormat> codes = block_codes<kFormat>(row, k, quarters);
    unit[i] = unit_of(codes.exponent);
    for (int l = 0; l < quarters; ++l) {
      __m512i w[2];
      quarter<kFormat>(row, codes, k, l, ahead, w);
      for (int j = 0; j < 2; ++j)
        _mm512_storeu_si512(out + 128 * (i * quarters + l) + 64 * j, w[j]);
    }
  }
}

// Blocks [b0, b1) of four rows times a tile of kT tokens, into sums [4][kT].
template <int kT>
inline void tile(const std::uint8_t* w, const float* unit, const PackedX& p, std::int64_t t0,
                 std::int64_t b0, std::int64_t b1, float* sums) {
  __m512 sum[4][kT];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
      sum[i][t] = b0 == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + 16 * (i * kT + t));
  for (std::int64_t b = b0; b < b1; ++b) {
    const std::int64_t n = 128 * quarters_of(p.cols, b * kInt8Block);
    const std::uint8_t* row = w + b * 4 * kInt8Block;
    const std::int8_t* x = p.x + t0 * p.cols + b * kT * kInt8Block;
    const std::int64_t at = t0 * p.blocks + b * kT;
    __m512i lanes[4][kT];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) lanes[i][t] = _mm512_loadu_si512(p.first + 16 * (at + t));
    for (std::int64_t k = 0; k < n; k += 64) {
      __m512i u[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) u[i] = load64(row + i * n + k);
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t) {
        const __m512i v = load64(x + t * n + k);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) lanes[i][t] = dot(lanes[i][t], u[i], v);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
      for (int t = 0; t < kT; ++t)
        sum[i][t] = add_scaled(lanes[i][t], unit[4 * b + i] * p.scale[at + t], sum[i][t]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) _mm512_storeu_ps(sums + 16 * (i * kT + t), sum[i][t]);
}

using Int8Tile = void (*)(const std::uint8_t*, const float*, const PackedX&, std::int64_t,
                          std::int64_t, std::int64_t, float*);
constexpr Int8Tile kInt8Tiles[kInt8Few + 1] = {nullptr, tile<1>, tile<2>, tile<3>};

inline std::int64_t tile_size(std::int64_t left) { return left < kInt8Few ? left : kInt8Few; }

// A panel times `n` packed tokens, the first of which is token t0 of the call.
inline void panel_times_tokens(const LinearArgs& a, const Panel& w, std::int64_t r0, int rows,
                               const PackedX& p, std::int64_t t0, std::int64_t n, float* sums) {
  const int groups = rows > 4 ? 2 : 1;
  const std::int64_t group_bytes = 4 * p.blocks * kInt8Block;
  for (std::int64_t b = 0; b < p.blocks; b += kInt8Part) {
    const std::int64_t end = p.blocks - b < kInt8Part ? p.blocks : b + kInt8Part;
    for (std::int64_t t = 0; t < n; t += kInt8Few)
      for (int g = 0; g < groups; ++g)
        kInt8Tiles[tile_size(n - t)](w.bytes + g * group_bytes, w.unit + g * 4 * p.blocks, p, t, b,
                                     end, sums + 64 * (g * n + t));
  }
  for (int g = 0; g < groups; ++g)
    for (std::int64_t t = 0; t < n; t += kInt8Few) {
      const std::int64_t m = tile_size(n - t);
      const float* s = sums + 64 * (g * n + t);
      for (std::int64_t i = 0; i < m; ++i)
        put(a, t0 + t + i, r0 + 4 * g, rows - 4 * g < 4 ? rows - 4 * g : 4,
            fold(_mm512_loadu_ps(s + 16 * i), _mm512_loadu_ps(s + 16 * (m + i)),
                 _mm512_loadu_ps(s + 16 * (2 * m + i)), _mm512_loadu_ps(s + 16 * (3 * m + i))));
    }
}

// ---- both

// Everything a call needs, in its scratch; sums come first.
template <Format kFormat>
void linear_int8_of(const LinearArgs& a) {
  const std::int64_t cols = a.w.cols, blocks = (cols + kInt8Block - 1) / kInt8Block;
  const std::int64_t most = linear_tokens(cols);
  float* sums = whole_lines(a.scratch);
  auto* first = reinterpret_cast<std::int32_t*>(sums + 2 * 64 * most);
  auto* bytes = reinterpret_cast<std::uint8_t*>(first + 16 * most * blocks);
  auto* x = reinterpret_cast<std::int8_t*>(bytes + 8 * blocks * kInt8Block);
  auto* scale = reinterpret_cast<float*>(x + most * cols);
  const PackedX p{x, first, scale, cols, blocks};
  const Panel w{bytes, scale + most * blocks};
  for (std::int64_t t0 = 0; t0 < a.tokens; t0 += most) {
    const std::int64_t n = a.tokens - t0 < most ? a.tokens - t0 : most;
    pack_tokens<kFormat>(a, t0, n, kInt8Few, p);
    if (a.tokens == 1) return few<kFormat, 1>(a, p);
    if (a.tokens == 2) return few<kFormat, 2>(a, p);
    if (a.tokens == 3) return few<kFormat, 3>(a, p);
    for (std::int64_t r = a.row_begin; r < a.row_end; r += 8) {
      const int rows = a.row_end - r < 8 ? static_cast<int>(a.row_end - r) : 8;
      for (int i = 0; i < (rows > 4 ? 8 : 4); ++i)  // missing rows repeat the last one
        unpack_row<kFormat>(row_reader(a.w, r + (i < rows ? i : rows - 1)), cols, i % 4,
                            bytes + i / 4 * 4 * blocks * kInt8Block, w.unit + i / 4 * 4 * blocks);
      panel_times_tokens(a, w, r, rows, p, t0, n, sums);
    }
  }
}
