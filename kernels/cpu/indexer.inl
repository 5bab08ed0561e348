// Indexer scores in terms of F16, sixteen float32 lanes; see linear.inl.

constexpr int kMaxKeyDim = 512;  // checked when the model is opened

inline void read_key(const IndexArgs& a, const std::uint8_t* bytes, float* out) {
  if (!a.packed) {
    std::memcpy(out, bytes, sizeof(float) * static_cast<std::size_t>(a.dim));
    return;
  }
  const std::uint8_t* scale = bytes + a.dim / 2;
  int c = 0;
  for (; c + 16 <= a.dim; c += 16)
    store(out + c, mul(from_fp4(bytes + c / 2), all(code_scale(scale[c / 32]))));
  for (; c < a.dim; ++c)
    out[c] = decode_e2m1(bytes[c / 2] >> (c % 2 * 4) & 15u) * code_scale(scale[c / 32]);
}

inline float score_key(const IndexArgs& a, const float* q, const float* w, const float* key) {
  constexpr int kHeads = 16;
  float score = 0, dot[kHeads];
  for (int h0 = 0; h0 < a.heads; h0 += kHeads) {
    const int n = a.heads - h0 < kHeads ? a.heads - h0 : kHeads;
    dots(q + h0 * a.dim, a.dim, n, key, a.dim, dot);
    for (int h = 0; h < n; ++h) {
      const float d = a.round_bf16 ? round_bf16(dot[h]) : dot[h];
      const float product = (d > 0 ? d : 0.0f) * w[h0 + h];
      score += a.round_bf16 ? round_bf16(product) : product;
    }
  }
  return a.round_bf16 ? round_bf16(score) : score;
}

void index_scores(const IndexArgs& a) {
  alignas(64) float key[kMaxKeyDim];
  for (std::int64_t j = 0; j < a.count; ++j) {
    read_key(a, a.block[j / a.block_keys] + j % a.block_keys * a.key_bytes, key);
    for (std::int64_t t = 0; t < a.queries; ++t)
      a.score[t * a.score_stride + j] =
          score_key(a, a.q + t * a.heads * a.dim, a.w + t * a.heads, key);
  }
}
