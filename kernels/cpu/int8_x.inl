// Activations to int8, for the VNNI kernels.
//
// Tokens are packed in tiles of up to three, or six for int8_pairs.inl; within one block by block,
// a token after the other, columns in the order of int8_codes.inl.  Each (block, token) has its
// scale and, since weights are held as 128 + q, 16 sums to begin with: -128 times the bytes that
// vpdpbusd adds up in a lane.

constexpr std::int64_t kPairTile = 6;

struct PackedX {
  std::int8_t* x;
  std::int32_t* first;
  float* scale;
  std::int64_t cols, blocks;
};

// Where they lie, from `at` on.
inline PackedX packed_x(const LinearArgs& a, void* at) {
  const std::int64_t blocks = (a.w.cols + kInt8Block - 1) / kInt8Block;
  auto* x = static_cast<std::int8_t*>(at);
  auto* first = reinterpret_cast<std::int32_t*>(x + a.tokens * a.w.cols);
  return {x, first, reinterpret_cast<float*>(first + 16 * a.tokens * blocks), a.w.cols, blocks};
}

inline int strips_of(std::int64_t cols, std::int64_t k) {
  return static_cast<int>((cols - k < kInt8Block ? cols - k : kInt8Block) / 128);
}

inline std::uint32_t max_magnitude(const float* x, int count) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i most[2] = {};
  for (int i = 0; i < count; i += 32)
    for (int j = 0; j < 2; ++j)
      most[j] = _mm512_max_epu32(most[j],
                                 _mm512_and_si512(_mm512_loadu_si512(x + i + 16 * j), magnitude));
  return _mm512_reduce_max_epu32(_mm512_max_epu32(most[0], most[1]));
}

inline __m512i bytes_of(const float* x, __m512 up) {
  __m128i q[4];
  for (int i = 0; i < 4; ++i)
    q[i] =
        _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * i), up)));
  const __m256i low = _mm256_set_m128i(q[1], q[0]), high = _mm256_set_m128i(q[3], q[2]);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

struct EveryOther {
  alignas(64) std::uint8_t byte[2][64];
};

constexpr EveryOther make_every_other() {
  EveryOther o{};
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 64; ++i) o.byte[j][i] = static_cast<std::uint8_t>(2 * i + j);
  return o;
}
constexpr EveryOther kEveryOther = make_every_other();

// One block of one token.
template <Kind kKind>
inline void pack_block(const float* x, int strips, std::int8_t* out, std::int32_t* first,
                       float* scale) {
  const Int8Scale s = int8_scale(max_magnitude(x, 128 * strips));
  *scale = s.down;
  const __m512 up = _mm512_set1_ps(s.up);
  __m512i sum = _mm512_setzero_si512();
  for (int l = 0; l < strips; ++l) {
    // An infinity times 0 would be no number; such a block has scale NaN and any bytes.
    __m512i q[2] = {bytes_of(x + 128 * l, up), bytes_of(x + 128 * l + 64, up)};
    if constexpr (kKind == Kind::kFp4) {
      const __m512i a = q[0], b = q[1];
      for (int j = 0; j < 2; ++j)
        q[j] = _mm512_permutex2var_epi8(a, load64(kEveryOther.byte[j]), b);
    }
    for (int j = 0; j < 2; ++j) {
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(char(0x80)), q[j]);
      _mm512_storeu_si512(out + 128 * l + 64 * j, q[j]);
    }
  }
  _mm512_storeu_si512(first, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
}

// Tokens [begin, end), one tile.
template <Kind kKind>
inline void pack_tile(const LinearArgs& a, const PackedX& p, std::int64_t begin, std::int64_t end) {
  const std::int64_t m = end - begin;
  for (std::int64_t u = 0; u < m * p.blocks; ++u) {
    const std::int64_t i = u % m, b = u / m, at = begin * p.blocks + u;
    const int strips = strips_of(p.cols, b * kInt8Block);
    pack_block<kKind>(token_row(a, begin + i) + b * kInt8Block, strips,
                      p.x + begin * p.cols + b * m * kInt8Block + i * 128 * strips,
                      p.first + 16 * at, p.scale + at);
  }
}

// Tiles [begin, end).
template <Kind kKind>
inline void pack_tiles(const LinearArgs& a, const Groups& tiles, std::int64_t begin,
                       std::int64_t end, const PackedX& p) {
  for (std::int64_t g = begin; g < end; ++g)
    pack_tile<kKind>(a, p, tiles.begin(g), tiles.begin(g + 1));
}
