// linear_int8 on VNNI.  Order of sums, the same for few tokens and for many: sixteen lanes of exact
// integers for each block, as float32 times the block's scales added to the sum; lanes are folded
// last.  Few tokens: weights go from memory through registers into sums.  Many: eight rows become
// bytes in scratch and meet the tokens in tiles of 4 rows x 3 tokens, as in bf16_gemm.inl.

// Written as an instruction: gcc 12 copies the sums of its intrinsic around, which takes longer
// than the products do.
inline __m512i dot(__m512i sum, __m512i w, __m512i x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  return sum;
}

// sum + lanes * unit * scale
inline __m512 add_scaled(__m512i lanes, float scales, __m512 sum) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(lanes), _mm512_set1_ps(scales), sum);
}

// ---- few

// Block b of one row times kT tokens; kQuarters: all four, or 0 for a short last block.
template <Format kFormat, int kT, int kQuarters>
inline void add_row_block(const RowReader& row, const BlockCodes<kFormat>& codes, std::int64_t b,
                          const PackedX& p, __m512* sum) {
  const std::int64_t k = b * kInt8Block;
  const int quarters = kQuarters > 0 ? kQuarters : quarters_of(p.cols, k);
  const std::int8_t* x = p.x + kT * k;
  __m512i lanes[kT];
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t) lanes[t] = _mm512_loadu_si512(p.first + 16 * (b * kT + t));
#pragma GCC unroll 4
  for (int l = 0; l < quarters; ++l) {
    __m512i w[2];
    quarter<kFormat>(row, codes, k, l, kAhead, w);
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
inline void rows_times_few(const LinearArgs& a, std::int64_t r, int rows, const PackedX& p) {
  __m512 sum[4][kT] = {};
  RowReader row[4];
  for (int i = 0; i < rows; ++i) row[i] = row_reader(a.w, r + i);
  // The tables of a block take long to find and are found while the one before is multiplied.
  BlockCodes<kFormat> next = block_codes<kFormat>(row[0], 0, quarters_of(p.cols, 0));
  for (std::int64_t b = 0; b < p.blocks; ++b)
    for (int i = 0; i < rows; ++i) {
      const BlockCodes<kFormat> codes = next;
      const int following = i + 1 < rows ? i + 1 : 0;
      const std::int64_t k = (following > 0 ? b : b + 1) * kInt8Block;
      if (k < p.cols) next = block_codes<kFormat>(row[following], k, quarters_of(p.cols, k));
      if (quarters_of(p.cols, b * kInt8Block) == 4)
        add_row_block<kFormat, kT, 4>(row[i], codes, b, p, sum[i]);
      else
        add_row_block<kFormat, kT, 0>(row[i], codes, b, p, sum[i]);
    }
  put<kT>(a, 0, r, rows, sum);
}

template <Format kFormat, int kT>
inline void few(const LinearArgs& a, const PackedX& p) {
  for (std::int64_t r = a.row_begin; r < a.row_end; r += 4)
    rows_times_few<kFormat, kT>(a, r, a.row_end - r < 4 ? static_cast<int>(a.row_end - r) : 4, p);
}

// ---- many

// Four rows as bytes, block by block.
struct Panel {
  std::uint8_t* bytes;
  float* unit;  // [block][row]
};

// A row of W into place i of a panel; the same row of the next eight is asked for meanwhile.
template <Format kFormat>
inline void unpack_row(const RowReader& row, std::int64_t cols, int i, std::uint8_t* out,
                       float* unit) {
  const std::int64_t ahead = kFormat == Format::kFp8 ? 8 * cols : 4 * cols;
  BlockCodes<kFormat> next = block_codes<kFormat>(row, 0, quarters_of(cols, 0));
  for (std::int64_t k = 0; k < cols; k += kInt8Block, out += 4 * kInt8Block, unit += 4) {
    const BlockCodes<kFormat> codes = next;
    const int quarters = quarters_of(cols, k);
    if (k + kInt8Block < cols)
      next = block_codes<kFormat>(row, k + kInt8Block, quarters_of(cols, k + kInt8Block));
    unit[i] = unit_of(codes.exponent);
    for (int l = 0; l < quarters; ++l) {
      __m512i w[2];
      quarter<kFormat>(row, codes, k, l, ahead, w);
      for (int j = 0; j < 2; ++j)
        _mm512_storeu_si512(out + 128 * (i * quarters + l) + 64 * j, w[j]);
    }
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
  alignas(16) float scales[kT][4];
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t)
    _mm_store_ps(scales[t], _mm_mul_ps(_mm_loadu_ps(at.unit), _mm_set1_ps(at.scale[t])));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t) sum[i][t] = add_scaled(lanes[i][t], scales[t][i], sum[i][t]);
}

// Four rows [r, r + rows) of W times the tile of kT tokens at t0.
template <int kT>
inline void tile(const LinearArgs& a, const Panel& w, std::int64_t r, int rows, const PackedX& p,
                 std::int64_t t0) {
  __m512 sum[4][kT] = {};
  for (std::int64_t b = 0; b < p.blocks; ++b) {
    const std::int64_t n = 128 * quarters_of(p.cols, b * kInt8Block), x = t0 * p.blocks + b * kT;
    const BlockAt at{w.bytes + b * 4 * kInt8Block, p.x + t0 * p.cols + b * kT * kInt8Block,
                     p.first + 16 * x, w.unit + 4 * b, p.scale + x};
    if (n == kInt8Block)
      add_block<kT, kInt8Block>(at, n, sum);
    else
      add_block<kT, 0>(at, n, sum);
  }
  put<kT>(a, t0, r, rows, sum);
}

using Int8Tile = void (*)(const LinearArgs&, const Panel&, std::int64_t, int, const PackedX&,
                          std::int64_t);
constexpr Int8Tile kInt8Tiles[kInt8Few + 1] = {nullptr, tile<1>, tile<2>, tile<3>};

// ---- both

// linear_int8_tokens(cols) tokens at most; everything a call needs is in its scratch.
template <Format kFormat>
void linear_int8_block(const LinearArgs& a) {
  const std::int64_t cols = a.w.cols, blocks = (cols + kInt8Block - 1) / kInt8Block;
  const std::int64_t panel_bytes = 4 * blocks * kInt8Block;
  auto* first = reinterpret_cast<std::int32_t*>(whole_lines(a.scratch));
  auto* bytes = reinterpret_cast<std::uint8_t*>(first + 16 * a.tokens * blocks);
  auto* x = reinterpret_cast<std::int8_t*>(bytes + 2 * panel_bytes);
  auto* scale = reinterpret_cast<float*>(x + a.tokens * cols);
  auto* unit = scale + a.tokens * blocks;
  const PackedX p{x, first, scale, cols, blocks};
  const Panel panel[2] = {{bytes, unit}, {bytes + panel_bytes, unit + 4 * blocks}};
  pack_tokens<kFormat>(a, p);
  if (a.tokens == 1) return few<kFormat, 1>(a, p);
  if (a.tokens == 2) return few<kFormat, 2>(a, p);
  if (a.tokens == 3) return few<kFormat, 3>(a, p);
  for (std::int64_t r = a.row_begin; r < a.row_end; r += 8) {
    const int rows = a.row_end - r < 8 ? static_cast<int>(a.row_end - r) : 8;
    for (int i = 0; i < (rows > 4 ? 8 : 4); ++i)  // missing rows repeat the last one
      unpack_row<kFormat>(row_reader(a.w, r + (i < rows ? i : rows - 1)), cols, i % 4,
                          panel[i / 4].bytes, panel[i / 4].unit);
    // A tile of tokens is in the nearest cache when the second panel meets it.
    for (std::int64_t t = 0; t < a.tokens; t += kInt8Few)
      for (int g = 0; 4 * g < rows; ++g)
        kInt8Tiles[a.tokens - t < kInt8Few ? a.tokens - t : kInt8Few](
            a, panel[g], r + 4 * g, rows - 4 * g < 4 ? rows - 4 * g : 4, p, t);
  }
}
