// The linear kernels in terms of F16, sixteen float32 lanes.  Included by one file per
// instruction set, inside its anonymous namespace: nothing here has linkage.
//
// Order of sums (what makes results independent of company): lane l adds the terms
// k = l, l + 16, ... in rising order by fused multiply-add, then lanes are folded.
// One token alone and many tokens together take different loops with that order.

constexpr int kRows = static_cast<int>(kLinearRows);

inline const float* token_row(const LinearArgs& a, std::int64_t t) {
  return a.x + (a.x_row != nullptr ? a.x_row[t] : t) * a.x_stride;
}

inline void put(const LinearArgs& a, std::int64_t t, std::int64_t r, F16 sum) {
  const float y = fold(sum);
  a.y[t * a.y_stride + r - a.y_begin] = a.round_bf16 ? round_bf16(y) : y;
}

// The columns [k, end) of a block with a scale outside the plain range.
template <Format kFormat, int kCount>
[[gnu::noinline]] void odd_block(const RowReader* row, const float* x, std::int64_t k,
                                 std::int64_t end, F16* sum) {
  for (; k < end; k += 16)
    for (int i = 0; i < kCount; ++i) sum[i] = fma(read_slowly(row[i], k, 16), load(x + k), sum[i]);
}

// The second-level cache is asked for lines this far ahead: all formats then come at memory
// speed, without it at 60 to 80 percent of it (bench/linear_bench).
constexpr std::int64_t kAhead = 16384;

// Of the bytes of columns [k, end) of some rows.
template <Format kFormat, int kCount>
inline void prefetch(const RowReader* row, std::int64_t k, std::int64_t end,
                     std::int64_t ahead = kAhead) {
  constexpr int kNibbles = kFormat == Format::kF32    ? 8
                           : kFormat == Format::kBF16 ? 4
                           : kFormat == Format::kFp8  ? 2
                                                      : 1;
  for (std::int64_t at = k * kNibbles / 2; at < end * kNibbles / 2; at += 64)
    for (int i = 0; i < kCount; ++i) __builtin_prefetch(row[i].data + at + ahead, 0, 2);
}

// Columns [k, end) of fp8 rows that share a scale: x is scaled, which is exact, not the weights.
template <int kCount>
inline void fp8_block(const RowReader* row, float factor, const float* x, std::int64_t k,
                      std::int64_t end, F16* sum) {
  const F16 f = all(factor);
  for (; k < end; k += 16) {
    const F16 v = mul(load(x + k), f);
    for (int i = 0; i < kCount; ++i) sum[i] = fma(codes16<Format::kFp8>(row[i].data, k), v, sum[i]);
  }
}

// 32 columns of fp4 under one scale: the table of values is scaled, not the values.
template <int kCount>
inline void fp4_block(const RowReader* row, const float* factor, const float* x, std::int64_t k,
                      F16* sum) {
  const F16 v0 = load(x + k), v1 = load(x + k + 16);
  for (int i = 0; i < kCount; ++i) {
    F16 w0, w1;
    from_fp4_32(row[i].data + k / 2, factor[i], &w0, &w1);
    sum[i] = fma(w1, v1, fma(w0, v0, sum[i]));
  }
}

// Do rows [r0, r0 + count) share their scales?  Asked once: a division takes as long as 32 columns.
template <Format kFormat>
inline bool share_scales(const Weight& w, std::int64_t r0, int count) {
  return kFormat == Format::kFp8 && r0 / w.block_rows == (r0 + count - 1) / w.block_rows;
}

// Is this scale far from the ends of float32?
inline bool middle_scale(std::uint8_t code) { return code >= 67 && code <= 187; }

// The columns [k, end), one block of scales, of quantised rows.
template <Format kFormat, int kCount>
inline void scaled_block(const RowReader* row, bool shared, std::int64_t block, const float* x,
                         std::int64_t k, std::int64_t end, F16* sum) {
  if (kFormat == Format::kFp8 && shared && middle_scale(row->scale[block]))
    return fp8_block<kCount>(row, fp8_factor(row->scale[block]), x, k, end, sum);
  float factor[kCount];
  bool plain = true;
  for (int i = 0; i < kCount; ++i) {
    plain = plain && plain_scale(row[i].scale[block]);
    factor[i] = plain ? code_factor<kFormat>(row[i].scale[block]) : 0.0f;
  }
  if (!plain) {
    F16 copy[kCount];
    for (int i = 0; i < kCount; ++i) copy[i] = sum[i];
    odd_block<kFormat, kCount>(row, x, k, end, copy);
    for (int i = 0; i < kCount; ++i) sum[i] = copy[i];
    return;
  }
  if (kFormat == Format::kFp4 && end - k == 32) return fp4_block<kCount>(row, factor, x, k, sum);
  for (; k < end; k += 16) {
    const F16 v = load(x + k);
    for (int i = 0; i < kCount; ++i)
      sum[i] = fma(mul(codes16<kFormat>(row[i].data, k), all(factor[i])), v, sum[i]);
  }
}

// One token: weights go from memory through registers into the sums.
template <Format kFormat, int kCount>
inline void rows_times_token(const LinearArgs& a, std::int64_t r0, std::int64_t t) {
  constexpr std::int64_t kPart = 128;  // columns whose prefetches are issued together
  RowReader row[kCount];
  F16 sum[kCount];
  for (int i = 0; i < kCount; ++i) {
    row[i] = row_reader(a.w, r0 + i);
    sum[i] = zero();
  }
  const float* x = token_row(a, t);
  const bool shared = share_scales<kFormat>(a.w, r0, kCount);
  const std::int64_t cols = a.w.cols, whole = cols / 16 * 16;
  for (std::int64_t k = 0, block = 0; k < whole;) {
    std::int64_t end = block_end<kFormat>(a.w, k, whole);
    if constexpr (kScaled<kFormat>) {
      if (k % kPart == 0) prefetch<kFormat, kCount>(row, k, k + kPart);
      scaled_block<kFormat, kCount>(row, shared, block++, x, k, end, sum);
      k = end;
    } else {
      end = k + kPart < whole ? k + kPart : whole;
      prefetch<kFormat, kCount>(row, k, end);
      for (; k < end; k += 16) {
        const F16 v = load(x + k);
        for (int i = 0; i < kCount; ++i) sum[i] = fma(codes16<kFormat>(row[i].data, k), v, sum[i]);
      }
    }
  }
  if (whole < cols) {
    const int n = static_cast<int>(cols - whole);
    const F16 v = load_first(x + whole, n);
    for (int i = 0; i < kCount; ++i) sum[i] = fma(read_slowly(row[i], whole, n), v, sum[i]);
  }
  for (int i = 0; i < kCount; ++i) put(a, t, r0 + i, sum[i]);
}

// Many tokens.  Sums of a block of tokens lie in memory, [row][token][16], while its columns come
// some at a time: what is multiplied stays in the first-level cache, and x is read from further away
// once for all rows of scratch.
constexpr std::int64_t kBlockTokens = 48, kBlockCols = 512;

// kR rows of scratch times kT tokens, columns [k, end), added to `sums` unless k is 0.  A part of
// the lanes at a time, so that all sums are in registers.
template <int kR, int kT>
inline void tile(const float* w, std::int64_t stride, const float* const* x, std::int64_t k,
                 std::int64_t end, float* sums) {
  for (int lane = 0; lane < 16; lane += kRegisterLanes) {
    Register sum[kR][kT];
    for (int r = 0; r < kR; ++r)
      for (int t = 0; t < kT; ++t)
        sum[r][t] = k == 0 ? register_zero() : register_load(sums + (r * kBlockTokens + t) * 16 + lane);
    for (std::int64_t c = k + lane; c < end; c += 16) {
      Register v[kT];
      for (int t = 0; t < kT; ++t) v[t] = register_load(x[t] + c);
      for (int r = 0; r < kR; ++r) {
        const Register u = register_load(w + r * stride + c);
        for (int t = 0; t < kT; ++t) sum[r][t] = register_fma(u, v[t], sum[r][t]);
      }
    }
    for (int r = 0; r < kR; ++r)
      for (int t = 0; t < kT; ++t)
        register_store(sums + (r * kBlockTokens + t) * 16 + lane, sum[r][t]);
  }
}

template <int kR>
inline void tiles(const float* w, std::int64_t stride, const float* const* x, std::int64_t n,
                  std::int64_t k, std::int64_t end, float* sums) {
  std::int64_t t = 0;
  for (; t + kTileTokens <= n; t += kTileTokens)
    tile<kR, kTileTokens>(w, stride, x + t, k, end, sums + 16 * t);
  for (; t + 2 <= n; t += 2) tile<kR, 2>(w, stride, x + t, k, end, sums + 16 * t);
  for (; t < n; ++t) tile<kR, 1>(w, stride, x + t, k, end, sums + 16 * t);
}

// Adds the columns behind the last sixteen and folds.
inline void finish_sums(const LinearArgs& a, std::int64_t r0, std::int64_t rows, std::int64_t t0,
                        const float* const* x, std::int64_t n, const float* sums) {
  const std::int64_t cols = a.w.cols, whole = cols / 16 * 16, stride = (cols + 15) / 16 * 16;
  const int rest = static_cast<int>(cols - whole);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t t = 0; t < n; ++t) {
      F16 sum = load(sums + (r * kBlockTokens + t) * 16);
      if (rest > 0)
        sum = fma(load(a.scratch + r * stride + whole), load_first(x[t] + whole, rest), sum);
      put(a, t0 + t, r0 + r, sum);
    }
}

// Rows [r0, r0 + rows), which are in scratch, times all tokens.
inline void scratch_times_tokens(const LinearArgs& a, std::int64_t r0, std::int64_t rows) {
  const std::int64_t cols = a.w.cols, whole = cols / 16 * 16, stride = (cols + 15) / 16 * 16;
  alignas(64) float sums[kRows * kBlockTokens * 16];
  for (std::int64_t t0 = 0; t0 < a.tokens; t0 += kBlockTokens) {
    const std::int64_t n = a.tokens - t0 < kBlockTokens ? a.tokens - t0 : kBlockTokens;
    const float* x[kBlockTokens];
    for (std::int64_t t = 0; t < n; ++t) x[t] = token_row(a, t0 + t);
    for (std::int64_t k = 0; k == 0 || k < whole; k += kBlockCols) {
      const std::int64_t end = k + kBlockCols < whole ? k + kBlockCols : whole;
      std::int64_t r = 0;
      for (; r + 4 <= rows; r += 4)
        tiles<4>(a.scratch + r * stride, stride, x, n, k, end, sums + r * kBlockTokens * 16);
      for (; r < rows; ++r)
        tiles<1>(a.scratch + r * stride, stride, x, n, k, end, sums + r * kBlockTokens * 16);
    }
    finish_sums(a, r0, rows, t0, x, n, sums);
  }
}

template <Format kFormat>
void linear_of(const LinearArgs& a) {
  std::int64_t r = a.row_begin;
  if (a.tokens == 1) {
    for (; r + kRowTile <= a.row_end; r += kRowTile) rows_times_token<kFormat, kRowTile>(a, r, 0);
    for (; r < a.row_end; ++r) rows_times_token<kFormat, 1>(a, r, 0);
    return;
  }
  while (r < a.row_end) {
    const std::int64_t count = a.row_end - r < kRows ? a.row_end - r : kRows;
    rows_to_scratch<kFormat>(a, r, count);
    scratch_times_tokens(a, r, count);
    r += count;
  }
}

void linear(const LinearArgs& a) {
  if (a.tokens == 0) return;
  switch (a.w.format) {
    case Format::kF32:
      return linear_of<Format::kF32>(a);
    case Format::kBF16:
      return linear_of<Format::kBF16>(a);
    case Format::kFp8:
      return linear_of<Format::kFp8>(a);
    case Format::kFp4:
      return linear_of<Format::kFp4>(a);
  }
}
