// What attention and the indexer share: scales of quantised blocks, dot products.  Included by
// an instruction-set file after its lanes, inside its anonymous namespace.

// Scales outside 2^+-100 (never seen in a trained model) take the slow exact way.
inline bool plain_scale(std::uint8_t code) { return code >= 27 && code <= 227; }

inline float code_scale(std::uint8_t code) {
  return plain_scale(code) ? power_of_two(code - 127) : static_cast<float>(decode_ue8m0(code));
}

// What from_fp8 must be multiplied by in a block with this scale: 2^(code - 127).
inline float fp8_factor(std::uint8_t code) { return power_of_two(code - 127 + kFp8Shift); }

inline float dot(const float* a, const float* b, int n) {
  F16 sum = zero();
  int c = 0;
  for (; c + 16 <= n; c += 16) sum = fma(load(a + c), load(b + c), sum);
  if (c < n) sum = fma(load_first(a + c, n - c), load_first(b + c, n - c), sum);
  return fold(sum);
}

// d[i] = dot(rows + i * stride, x, n): four sums at once wait less, each with the bits of dot().
inline void dots(const float* rows, std::int64_t stride, int count, const float* x, int n,
                 float* d) {
  int i = 0;
  for (; i + 4 <= count && n % 16 == 0; i += 4) {
    const float* r = rows + i * stride;
    F16 s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero();
    for (int c = 0; c < n; c += 16) {
      const F16 v = load(x + c);
      s0 = fma(load(r + c), v, s0);
      s1 = fma(load(r + stride + c), v, s1);
      s2 = fma(load(r + 2 * stride + c), v, s2);
      s3 = fma(load(r + 3 * stride + c), v, s3);
    }
    d[i] = fold(s0);
    d[i + 1] = fold(s1);
    d[i + 2] = fold(s2);
    d[i + 3] = fold(s3);
  }
  for (; i < count; ++i) d[i] = dot(rows + i * stride, x, n);
}
