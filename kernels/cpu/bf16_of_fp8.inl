// e4m3 codes to bf16 by vpermi2b, for weights and KV rows.  Included inside an anonymous namespace.
//
// Looked up, never shifted into place: vdpbf16ps reads bf16 subnormals as zero, and e4m3
// subnormals are normal bf16.

inline __m512i load64(const void* p) { return _mm512_loadu_si512(p); }

struct Fp8Tables {
  alignas(64) std::uint8_t low[128], high[128];  // bytes of the bf16 of code c, without sign
};

constexpr std::uint16_t bf16_of_e4m3(int c) {
  int e = c >> 3, m = c & 7;
  if (c == 0) return 0;
  if (c == 127) return 0x7fc0;
  if (e == 0) {  // m 2^-9: move the leading bit up
    e = 1;
    while (m < 8) {
      m *= 2;
      --e;
    }
    m -= 8;
  }
  return static_cast<std::uint16_t>((e - 7 + 127) << 7 | m << 4);
}

// `lift` is added to the words of numbers that are not zero.
constexpr Fp8Tables make_fp8_tables(int lift) {
  Fp8Tables t{};
  t.low[127] = bf16_of_e4m3(127) & 255;
  t.high[127] = bf16_of_e4m3(127) >> 8;
  for (int c = 1; c < 127; ++c) {
    t.low[c] = static_cast<std::uint8_t>((bf16_of_e4m3(c) + lift) & 255);
    t.high[c] = static_cast<std::uint8_t>((bf16_of_e4m3(c) + lift) >> 8);
  }
  return t;
}

constexpr Fp8Tables kFp8Tables = make_fp8_tables(0);

struct Fp8Decoder {
  __m512i low[2], high[2];
};

inline Fp8Decoder fp8_decoder(const Fp8Tables& t) {
  return {{load64(t.low), load64(t.low + 64)}, {load64(t.high), load64(t.high + 64)}};
}

// 64 codes to the registers 2 h and 2 h + 1.
inline void words_fp8(__m512i v, const Fp8Decoder& d, __m512i* out) {
  const __m512i low = _mm512_permutex2var_epi8(d.low[0], v, d.low[1]);
  const __m512i high = _mm512_ternarylogic_epi32(_mm512_permutex2var_epi8(d.high[0], v, d.high[1]),
                                                 v, _mm512_set1_epi8(char(0x80)), 0xf8);
  out[0] = _mm512_unpacklo_epi8(low, high);
  out[1] = _mm512_unpackhi_epi8(low, high);
}
