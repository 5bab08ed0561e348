// Strips of any kind to int8, by int8_codes.inl and int8_codes_*.inl.

template <Kind kKind>
inline BlockCodes<kKind> block_codes(const RowReader& row, std::int64_t k, int strips) {
  if constexpr (kKind == Kind::kFp8) return block_codes_fp8(row, k, strips);
  if constexpr (kKind == Kind::kFp8By32) return block_codes_by_32(row, k, strips);
  if constexpr (kKind == Kind::kFp4) return block_codes_fp4(row, k, strips);
}

// The unit of a block whose greatest weight has exponent E.
inline float unit_of(int exponent) { return exponent < -500 ? 0.0f : power_of_two(exponent - 6); }

// Strip l of the block from k on, of a row whose scales lie far apart.
template <Kind kKind>
inline void far_strip(const RowReader& row, int exponent, std::int64_t k, int l, __m512i (&w)[2]) {
  const std::uint8_t* scale = row.scale + k / 32 + 4 * l;
  if constexpr (kKind == Kind::kFp4)
    int8_far_fp4(load64(row.data + k / 2 + 64 * l), exponent, scale, w);
  else
    int8_far_fp8(row.data + k + 128 * l, exponent, scale, w);
}

// Strip l of the block from k on; l should be known, or the tables go through memory; bytes `ahead`
// of it are asked for.
template <Kind kKind>
inline void strip(const RowReader& row, const BlockCodes<kKind>& b, std::int64_t k, int l,
                  std::int64_t ahead, __m512i (&w)[2]) {
  if constexpr (kKind == Kind::kFp8) {
    const std::uint8_t* at = row.data + k + 128 * l;
    const __m512i low = load64(b.table[l]), high = load64(b.table[l] + 64);
    for (int j = 0; j < 2; ++j) {
      prefetch(at + 64 * j, ahead);
      w[j] = int8_fp8(load64(at + 64 * j), low, high);
    }
  } else if constexpr (kKind == Kind::kFp8By32) {
    const std::uint8_t* at = row.data + k + 128 * l;
    for (int j = 0; j < 2; ++j) prefetch(at + 64 * j, ahead);
    if (b.near)
      near_strip_fp8(at, b, l, w);
    else
      far_strip<kKind>(row, b.exponent, k, l, w);
  } else {
    const std::uint8_t* at = row.data + k / 2 + 64 * l;
    prefetch(at, ahead);
    if (b.near)
      int8_near(load64(at), _mm512_shuffle_epi8(b.table[l / 4], load64(kLaneBytes.byte[l % 4])), w);
    else
      far_strip<kKind>(row, b.exponent, k, l, w);
  }
}
