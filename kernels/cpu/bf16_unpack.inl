// Rows of W as bf16 words with their scales, in a cache, for bf16_gemm.inl.

constexpr std::int64_t kGroup = 8;  // rows that are interleaved block by block

// kLift - scale for the words of each 32-column block of a register of nibbles_fp4.
inline __m512i fp4_drop(const std::uint8_t* s) {
  return _mm512_slli_epi16(_mm512_sub_epi16(_mm512_set1_epi16(127 + 64), scales_in_words(s)), 7);
}

// Columns [k, k + 128) of a row, in the order of the format.  `ahead` of them is what comes while
// these meet their tokens.
template <Kind kKind>
inline void unpack_block(const RowReader& row, std::int64_t k, std::int64_t ahead, const Decoder& d,
                         std::uint16_t* out) {
  constexpr int kBytes = block_bytes(kKind);
  const std::uint8_t* at = row.data + k / kBlock * kBytes;
  for (int i = 0; i < kBytes; i += 64) prefetch(at + i, ahead);
  __m512i w[4];
  if constexpr (kKind == Kind::kFp4) {
    const __m512i codes = load64(at), drop = fp4_drop(row.scale + k / 32);
    for (int j = 0; j < 4; ++j) w[j] = dropped(nibbles_fp4(codes, j, d.fp4), drop);
  } else if constexpr (is_fp8(kKind)) {
    __m512i codes[2];
    load_fp8<kKind>(at, codes);
    for (int h = 0; h < 2; ++h) words_fp8(codes[h], d.fp8, w + 2 * h);
    if constexpr (kKind == Kind::kFp8By32) {
      const __m512i scales = scales_in_words(row.scale + k / 32);
      for (int j = 0; j < 4; ++j) w[j] = scale_marked(w[j], scales);
    }
  } else {
    for (int j = 0; j < 4; ++j) w[j] = load64(at + 64 * j);
  }
  for (int j = 0; j < 4; ++j) _mm512_storeu_si512(out + 32 * j, w[j]);
}

// `blocks` blocks of rows [r, r + 8): block b of row i to out[(8 b + i) kBlock].  Missing rows
// repeat the last one.  The same columns of the next eight are asked for meanwhile.
template <Kind kKind>
inline void unpack_part(const LinearArgs& a, std::int64_t r, std::int64_t k, std::int64_t blocks,
                        Decoder d, std::uint16_t* out) {
  const std::int64_t ahead = kGroup * row_bytes(a.w);
  RowReader row[kGroup];
  for (std::int64_t i = 0; i < kGroup; ++i)
    row[i] = row_reader(a.w, r + i < a.row_end ? r + i : a.row_end - 1);
  for (std::int64_t b = 0; b < blocks; ++b, k += kBlock)
    for (std::int64_t i = 0; i < kGroup; ++i, out += kBlock) {
      // One scale for all eight rows, or two where a block of rows ends among them.
      if (kKind == Kind::kFp8 && (i == 0 || row[i].scale != row[i - 1].scale))
        d.fp8 = scaled_fp8(row[i].scale[k / 128]);
      unpack_block<kKind>(row[i], k, ahead, d, out);
    }
}
