// Packed KV rows as bf16.  Included after lanes_avx512.inl and bf16_of_fp8.inl, inside an anonymous
// namespace.

inline __m512bh bf16_of(__m512i x) { return reinterpret_cast<__m512bh>(x); }
inline __m512i bits_of(__m512bh x) { return reinterpret_cast<__m512i>(x); }

// 0 16 1 17 ...: two halves of a vector become pairs.
inline __m512i interleave_order() {
  return _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                          6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
}

struct Channels64 {
  __m512i low, high;  // channels 0 .. 31 and 32 .. 63
};

// 64 codes under one scale.
inline Channels64 read_codes(const std::uint8_t* p, std::uint8_t scale) {
  if (!plain_scale(scale)) {
    alignas(64) std::uint16_t v[64];
    for (int i = 0; i < 64; ++i) v[i] = encode_bf16(decode_e4m3(p[i]) * code_scale(scale));
    return {_mm512_load_si512(v), _mm512_load_si512(v + 32)};
  }
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);  // unpack works in 128 bits
  const __m512i code = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(p));
  __m512i w[2];
  words_fp8(code, fp8_decoder(kFp8Tables), w);
  Channels64 c{w[0], w[1]};
  const __m512i shift = _mm512_set1_epi16(static_cast<short>((scale - 127) * 128));
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);  // zero stays zero
  c.low = _mm512_mask_add_epi16(c.low, _mm512_test_epi16_mask(c.low, magnitude), c.low, shift);
  c.high = _mm512_mask_add_epi16(c.high, _mm512_test_epi16_mask(c.high, magnitude), c.high, shift);
  return c;
}

// Channels 64 b .. 64 b + 63 of a row.
inline Channels64 read_channels(const RowShape& s, const void* row, int b) {
  const auto* bytes = static_cast<const std::uint8_t*>(row);
  const int plain = s.dim - s.rope;
  if (64 * b < plain) return read_codes(bytes + 64 * b, bytes[plain + 2 * s.rope + b]);
  const std::uint8_t* tail = bytes + plain + 2 * (64 * b - plain);
  return {_mm512_loadu_si512(tail), _mm512_loadu_si512(tail + 64)};
}

inline void read_row(const RowShape& s, const void* row, std::uint32_t* out) {
  for (int b = 0; b < s.dim / 64; ++b) {
    const Channels64 c = read_channels(s, row, b);
    _mm512_store_si512(out + 32 * b, c.low);
    _mm512_store_si512(out + 32 * b + 16, c.high);
  }
}

// Two rows, channel by channel in pairs; block b of 64 channels at out + b * stride.  The
// second may be null: zeros.
inline void read_row_pair(const RowShape& s, const void* row0, const void* row1, std::uint32_t* out,
                          int stride) {
  const __m512i order0 =
      _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                       37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i order1 = _mm512_add_epi16(order0, _mm512_set1_epi16(16));
  for (int b = 0; b < s.dim / 64; ++b) {
    const Channels64 x = read_channels(s, row0, b);
    Channels64 y{_mm512_setzero_si512(), _mm512_setzero_si512()};
    if (row1 != nullptr) y = read_channels(s, row1, b);
    std::uint32_t* o = out + b * stride;
    _mm512_store_si512(o, _mm512_permutex2var_epi16(x.low, order0, y.low));
    _mm512_store_si512(o + 16, _mm512_permutex2var_epi16(x.low, order1, y.low));
    _mm512_store_si512(o + 32, _mm512_permutex2var_epi16(x.high, order0, y.high));
    _mm512_store_si512(o + 48, _mm512_permutex2var_epi16(x.high, order1, y.high));
  }
}
