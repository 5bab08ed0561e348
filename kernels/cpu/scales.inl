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
