// Dense attention in terms of F16, sixteen float32 lanes; see DenseAttentionArgs.  Included after
// lanes_*.inl and exp.inl.
//
// kDenseQueries queries go through a tile together.  Lanes are keys for the logits and channels for
// the values, so nothing is folded but the softmax; every sum adds in the order of channels, or of
// keys, whatever else is in the call.

constexpr int kDenseQueries = 4;

// out[i][c] = sum over j of x[i][j] m[j][c], added to out[i][c] when kAdd; kQ rows of x, columns
// [c, c + 16 * kF).  x[i][j] is x[i * x_stride + j].
template <int kQ, int kF, bool kAdd>
inline void rows_times_matrix(const float* x, std::int64_t x_stride, const float* m,
                              std::int64_t m_stride, std::int64_t n, float* out,
                              std::int64_t out_stride) {
  F16 sum[kQ][kF];
  for (int i = 0; i < kQ; ++i)
    for (int f = 0; f < kF; ++f) sum[i][f] = kAdd ? load(out + i * out_stride + 16 * f) : zero();
  for (std::int64_t j = 0; j < n; ++j) {
    F16 row[kF];
    for (int f = 0; f < kF; ++f) row[f] = load(m + j * m_stride + 16 * f);
    for (int i = 0; i < kQ; ++i) {
      const F16 v = all(x[i * x_stride + j]);
      for (int f = 0; f < kF; ++f) sum[i][f] = fma(v, row[f], sum[i][f]);
    }
  }
  for (int i = 0; i < kQ; ++i)
    for (int f = 0; f < kF; ++f) store(out + i * out_stride + 16 * f, sum[i][f]);
}

// Logits become weights; returns their sum and how much of what was before is kept.
struct Softmax {
  float keep, mass;
  bool finite;
};
inline Softmax softmax_of_tile(float* logit, int keys, float scale, float* top, bool round) {
  F16 most = all(*top), odd = zero();
  const F16 factor = all(scale);
  for (int i = 0; i < keys; i += 16) {
    const int n = keys - i < 16 ? keys - i : 16;
    F16 x = mul(load(logit + i), factor);
    alignas(64) float lane[16];
    if (n < 16) {  // lanes behind the last key take its place
      store(lane, x);
      for (int l = n; l < 16; ++l) lane[l] = lane[0];
      x = load(lane);
    }
    store(logit + i, x);
    odd = fma(x, zero(), odd);  // not 0 where x is no finite number
    most = maximum(most, x);
  }
  alignas(64) float lane[16];
  store(lane, most);
  float m = lane[0];
  for (int l = 1; l < 16; ++l) m = lane[l] > m ? lane[l] : m;
  const float keep = *top < m - 87.0f ? 0.0f : exp_negative(*top - m);
  *top = m;
  F16 mass = zero();
  for (int i = 0; i < keys; i += 16) {
    const int n = keys - i < 16 ? keys - i : 16;
    F16 p = exp_negative(sub(load(logit + i), all(m)));
    if (n < 16) {
      store(lane, p);
      for (int l = n; l < 16; ++l) lane[l] = 0;
      p = load(lane);
    }
    mass = add(mass, p);
    store(logit + i, round ? rounded_bf16(p) : p);
  }
  return {keep, fold(mass), fold(odd) == 0.0f};
}

template <int kQ>
inline bool dense_queries(const DenseAttentionArgs& a, std::int64_t q0) {
  alignas(64) float logits[kQ * kDenseTile];
  const float* q = a.q + q0 * a.q_stride;
  float* sum = a.sum + q0 * a.dim;
  constexpr int kStep = 16 * kDenseF16;
  static_assert(kDenseTile % kStep == 0);
  for (int c = 0; c < a.keys; c += kStep)
    rows_times_matrix<kQ, kDenseF16, false>(q, a.q_stride, a.k + c, kDenseTile, a.dim, logits + c,
                                            kDenseTile);
  bool finite = true;
  for (int i = 0; i < kQ; ++i) {
    const Softmax s = softmax_of_tile(logits + i * kDenseTile, a.keys, a.scale, a.top + q0 + i,
                                      a.round_bf16);
    finite = finite && s.finite;
    a.mass[q0 + i] = a.mass[q0 + i] * s.keep + s.mass;
    for (int c = 0; c < a.dim; ++c) sum[i * a.dim + c] *= s.keep;
  }
  int c = 0;
  for (; c + kStep <= a.dim; c += kStep)
    rows_times_matrix<kQ, kDenseF16, true>(logits, kDenseTile, a.v + c, a.dim, a.keys, sum + c,
                                           a.dim);
  for (; c < a.dim; ++c)
    for (int i = 0; i < kQ; ++i)
      for (int j = 0; j < a.keys; ++j)
        sum[i * a.dim + c] = __builtin_fmaf(logits[i * kDenseTile + j], a.v[j * a.dim + c],
                                            sum[i * a.dim + c]);
  return finite;
}

bool dense_attention(const DenseAttentionArgs& a) {
  bool finite = true;
  std::int64_t i = 0;
  for (; i + kDenseQueries <= a.queries; i += kDenseQueries)
    finite = dense_queries<kDenseQueries>(a, i) && finite;
  for (; i < a.queries; ++i) finite = dense_queries<1>(a, i) && finite;
  return finite;
}
