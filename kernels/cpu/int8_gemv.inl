// linear_int8 on VNNI.  Order of sums, the same for few tokens and for many: sixteen lanes of exact
// integers for each block, as float32 times the block's scales added to the sum; lanes are folded
// last.  Here few tokens: weights go from memory through registers into sums.

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

// Block b of one row times kT tokens; kStripsOf: all of them, or 0 for a short last block.
template <Kind kKind, int kT, int kN>
inline void add_row_block(const RowReader& row, const BlockCodes<kKind>& codes, std::int64_t b,
                          const PackedX& p, __m512* sum) {
  const std::int64_t k = b * kInt8Block;
  const int strips = kN > 0 ? kN : strips_of(p.cols, k);
  const std::int8_t* x = p.x + kT * k;
  __m512i lanes[kT];
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t) lanes[t] = _mm512_loadu_si512(p.first + 16 * (b * kT + t));
#pragma GCC unroll 8
  for (int l = 0; l < strips; ++l) {
    __m512i w[2];
    strip<kKind>(row, codes, k, l, kAhead, w);
#pragma GCC unroll 3
    for (int t = 0; t < kT; ++t)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j)
        lanes[t] = dot(lanes[t], w[j], load64(x + 128 * (t * strips + l) + 64 * j));
  }
  const float unit = unit_of(codes.exponent);
#pragma GCC unroll 3
  for (int t = 0; t < kT; ++t) sum[t] = add_scaled(lanes[t], unit * p.scale[b * kT + t], sum[t]);
}

template <Kind kKind, int kT>
inline void rows_times_few(const LinearArgs& a, std::int64_t r, int rows, const PackedX& p) {
  __m512 sum[4][kT] = {};
  RowReader row[4];
  for (int i = 0; i < rows; ++i) row[i] = row_reader(a.w, r + i);
  // The tables of a block take long to find and are found while the one before is multiplied.
  BlockCodes<kKind> next = block_codes<kKind>(row[0], 0, strips_of(p.cols, 0));
  for (std::int64_t b = 0; b < p.blocks; ++b)
    for (int i = 0; i < rows; ++i) {
      const BlockCodes<kKind> codes = next;
      const int following = i + 1 < rows ? i + 1 : 0;
      const std::int64_t k = (following > 0 ? b : b + 1) * kInt8Block;
      if (k < p.cols) next = block_codes<kKind>(row[following], k, strips_of(p.cols, k));
      if (strips_of(p.cols, b * kInt8Block) == kStrips)
        add_row_block<kKind, kT, kStrips>(row[i], codes, b, p, sum[i]);
      else
        add_row_block<kKind, kT, 0>(row[i], codes, b, p, sum[i]);
    }
  put<kT>(a, 0, r, rows, sum);
}

template <Kind kKind, int kT>
inline void few(const LinearArgs& a, const PackedX& p) {
  for (std::int64_t r = a.row_begin; r < a.row_end; r += 4)
    rows_times_few<kKind, kT>(a, r, a.row_end - r < 4 ? static_cast<int>(a.row_end - r) : 4, p);
}
