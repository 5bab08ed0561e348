// Queries of the indexer as integers; see avx512bf16_indexer.cc.  Inside an anonymous namespace.

constexpr int kKeys = static_cast<int>(kIndexTile);
constexpr int kHeads = 4;                          // x 4 vectors of keys: 16 sums
constexpr int kSpread = 3;                         // 12 << 3 still is a byte
constexpr int kMaxBlocks = 16;                     // index dims are at most 512
constexpr int kCommon = 12 << kSpread, kOwn = 12;  // what makes keys unsigned

// A query in integers: 2 q / scale of its block, heads padded to a multiple of four.
// Bytes lie in steps of four channels, in the order in which keys have them.
struct Query {
  std::uint32_t* common;   // [heads][dim / 4] one scale a head
  std::uint32_t* own;      // [heads][dim / 4] one scale a block
  std::int32_t* own_base;  // [heads][blocks] -kOwn * sum of a block
  float* factor;           // [heads][blocks] scale of a block over the head's
  std::int32_t* base;      // [heads] -kCommon * sum of `common`
  std::uint32_t* weight;   // [heads] bf16 of weight * scale / 4
  std::int32_t* uniform;   // [heads / 4] every head of the group has `common`
};

// 2^(e) as far as float32 has it: 0 below.
inline float power_or_zero(int e) { return e < -126 ? 0.0f : power_of_two(e < 127 ? e : 127); }

// 32 channels -> 8 steps of 2 q / 2^e; returns e.
int write_block(const float* x, bool* zero_block, std::uint32_t* out, int* sum) {
  const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
  const float top = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
  *zero_block = !(top >= 6.0f * 0x1p-120f);
  const int e = *zero_block ? 0 : ceil_log2(top * (1.0f / 6.0f));
  const __m512 inverse = _mm512_set1_ps(*zero_block ? 0.0f : power_or_zero(1 - e));
  const __m512i ia = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
  const __m512i ib = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
  *sum = _mm512_reduce_add_epi32(_mm512_add_epi32(ia, ib));
  const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  auto* to = reinterpret_cast<__m128i*>(out);
  _mm_storeu_si128(to, _mm_shuffle_epi8(_mm512_cvtsepi32_epi8(ia), order));
  _mm_storeu_si128(to + 1, _mm_shuffle_epi8(_mm512_cvtsepi32_epi8(ib), order));
  return e;
}

// The bytes of a block, each times 2^shift.
void shift_block(const std::uint32_t* in, int shift, std::uint32_t* out) {
  const __m512i v = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)));
  const __m512i s = _mm512_sll_epi16(v, _mm_cvtsi32_si128(shift));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi16_epi8(s));
}

void write_head(const float* x, float w, int dim, int h, const Query& q) {
  const int blocks = dim / 32, steps = dim / 4;
  int e[kMaxBlocks], sum[kMaxBlocks], low = 1000, high = -1000;
  bool empty[kMaxBlocks];
  for (int b = 0; b < blocks; ++b) {
    e[b] = write_block(x + 32 * b, &empty[b], q.own + h * steps + 8 * b, &sum[b]);
    q.own_base[h * blocks + b] = -kOwn * sum[b];
    if (empty[b]) continue;
    low = e[b] < low ? e[b] : low;
    high = e[b] > high ? e[b] : high;
  }
  if (high < low) low = high = 0;
  const bool uniform = high - low <= kSpread;
  const int scale = uniform ? low : high;
  int total = 0;
  for (int b = 0; b < blocks; ++b) {
    q.factor[h * blocks + b] = empty[b] ? 1.0f : power_or_zero(e[b] - scale);
    const int shift = uniform && !empty[b] ? e[b] - low : 0;
    shift_block(q.own + h * steps + 8 * b, shift, q.common + h * steps + 8 * b);
    total += sum[b] << shift;
  }
  q.base[h] = -kCommon * total;
  q.weight[h] = encode_bf16(w * power_or_zero(scale - 2));
  if (!uniform) q.uniform[h / kHeads] = 0;
}

Query place_query(const IndexArgs& a, int padded, int t) {
  const std::int64_t steps = a.dim / 4, blocks = a.dim / 32;
  auto* p = reinterpret_cast<std::uint32_t*>(a.scratch) + t * padded * (2 * steps + 2 * blocks + 4);
  Query q{};
  q.common = p;
  q.own = q.common + padded * steps;
  q.own_base = reinterpret_cast<std::int32_t*>(q.own + padded * steps);
  q.factor = reinterpret_cast<float*>(q.own_base + padded * blocks);
  q.base = reinterpret_cast<std::int32_t*>(q.factor + padded * blocks);
  q.weight = reinterpret_cast<std::uint32_t*>(q.base + padded);
  q.uniform = reinterpret_cast<std::int32_t*>(q.weight + padded);
  return q;
}

void write_query(const IndexArgs& a, int padded, int t) {
  const Query q = place_query(a, padded, t);
  std::memset(q.common, 0, sizeof(float) * std::size_t(padded * (a.dim / 2 + a.dim / 16 + 4)));
  for (int g = 0; g < padded / kHeads; ++g) q.uniform[g] = 1;
  for (int h = 0; h < a.heads; ++h)
    write_head(a.q + (std::int64_t{t} * a.heads + h) * a.dim, a.w[t * a.heads + h], a.dim, h, q);
}
