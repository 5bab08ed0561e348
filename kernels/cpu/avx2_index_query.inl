// Queries of the indexer as integers for AVX2; see avx2_indexer.cc.  Inside an anonymous namespace.

constexpr int kKeys = static_cast<int>(kIndexTile);
constexpr int kHeads = 4;        // heads of a register tile
constexpr int kQuerySpread = 3;  // 12 << 3 still is a signed byte
constexpr int kMaxBlocks = 16;   // index dims are at most 512

// One query: 2 q / scale of its head, heads padded to a multiple of four.  Bytes lie in steps of
// four channels, in the order in which keys have them.
struct Query {
  std::uint32_t* bytes;  // [heads][dim / 4]
  std::uint32_t* base;   // [heads][dim / 32] two int16: what undoes the offset of keys
  float* weight;         // [heads] weight * scale / 4
};

// The largest magnitude; as bits, among which NaN is larger than all numbers.
inline float largest(const float* x, int n) {
  const auto magnitude = [x](int c) {
    return _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + c)),
                            _mm256_set1_epi32(0x7fffffff));
  };
  __m256i m = magnitude(0);
  for (int c = 8; c < n; c += 8) m = _mm256_max_epi32(m, magnitude(c));
  __m128i q = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
  q = _mm_max_epi32(q, _mm_unpackhi_epi64(q, q));
  q = _mm_max_epi32(q, _mm_srli_epi64(q, 32));
  return from_bits(static_cast<std::uint32_t>(_mm_cvtsi128_si32(q)));
}

// 32 channels times `factor`, which makes them integers of a signed byte: 8 steps.  The sums of
// a step's first two and last two channels, times -12, are `base`.
void write_block(const float* x, float factor, std::uint32_t* out, std::uint32_t* base) {
  const __m256 f = _mm256_set1_ps(factor);
  __m256i i[4];
  for (int k = 0; k < 4; ++k)
    i[k] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * k), f));
  const __m256i halves =
      _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
  const __m256i order = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
  const __m256i bytes = _mm256_shuffle_epi8(
      _mm256_permutevar8x32_epi32(halves, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)), order);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
  const __m256i twelve = _mm256_maddubs_epi16(_mm256_set1_epi8(12), bytes);
  __m128i sum =
      _mm_add_epi16(_mm256_castsi256_si128(twelve), _mm256_extracti128_si256(twelve, 1));
  sum = _mm_add_epi16(sum, _mm_unpackhi_epi64(sum, sum));
  sum = _mm_add_epi16(sum, _mm_srli_epi64(sum, 32));
  *base = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), sum)));
}

// False: the scales of its blocks lie too far apart, or it has NaN, infinity, or values so small or
// large that a scaled weight would leave float32.
bool write_head(const float* x, float w, int dim, int h, const Query& q) {
  const int blocks = dim / 32, steps = dim / 4;
  int low = 1000, high = -1000;
  bool empty[kMaxBlocks];
  for (int b = 0; b < blocks; ++b) {
    const float top = largest(x + 32 * b, 32);
    empty[b] = to_bits(top) == 0;
    if (empty[b]) continue;
    if (!(top <= 0x1p100f) || top < 6.0f * 0x1p-100f) return false;
    const int e = ceil_log2(top * (1.0f / 6.0f));
    low = e < low ? e : low;
    high = e > high ? e : high;
  }
  if (high < low) low = high = 0;
  if (high - low > kQuerySpread) return false;
  for (int b = 0; b < blocks; ++b)
    write_block(x + 32 * b, empty[b] ? 0.0f : power_of_two(1 - low), q.bytes + h * steps + 8 * b,
                q.base + h * blocks + b);
  q.weight[h] = w * power_of_two(low - 2);
  // Products with it, of up to 2^31, neither overflow nor lose bits.
  return to_bits(w) << 1 == 0 || (std::fabs(w) >= 0x1p-100f && std::fabs(q.weight[h]) >= 0x1p-90f &&
                                  std::fabs(q.weight[h]) <= 0x1p90f);
}

Query place_query(const IndexArgs& a, int padded, int t) {
  const std::int64_t steps = a.dim / 4, blocks = a.dim / 32;
  auto* p = reinterpret_cast<std::uint32_t*>(a.scratch) + t * padded * (steps + blocks + 1);
  return {p, p + padded * steps, reinterpret_cast<float*>(p + padded * (steps + blocks))};
}

// False: this query needs float32 arithmetic.
bool write_query(const IndexArgs& a, int padded, int t) {
  const Query q = place_query(a, padded, t);
  std::memset(q.bytes, 0, sizeof(float) * std::size_t(padded * (a.dim / 4 + a.dim / 32 + 1)));
  for (int h = 0; h < a.heads; ++h)
    if (!write_head(a.q + (std::int64_t{t} * a.heads + h) * a.dim, a.w[t * a.heads + h], a.dim, h,
                    q))
      return false;
  return true;
}
