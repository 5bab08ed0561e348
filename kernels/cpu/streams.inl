// Quantiser, gate and residual streams in terms of F16, sixteen float32 lanes; after rows.inl and
// exp.inl.  Products and sums are rounded one by one, as in scalar_rows.cc: but for swiglu's exp
// not a bit changes.

inline int lanes_left(std::int64_t at, std::int64_t end) {
  return end - at < 16 ? static_cast<int>(end - at) : 16;
}

// fp8_sim of one block.
inline void fp8_block(const float* x, float* y, int n) {
  const int e = fp8_exponent(x, n);
  const float scale = power_of_two(e), inverse = inverse_power(e);
  for (int i = 0; i < n; ++i) {
    const float v = x[i] * inverse;
    const float a = least(from_bits(to_bits(v) & 0x7fffffffu), 448.0f);
    constexpr float kShift = 1.5f * 0x1p14f;
    const std::uint32_t few = to_bits((a + kShift) - kShift);  // subnormal codes: steps of 2^-9
    const std::uint32_t many = (to_bits(a) + 0x7ffff + (to_bits(a) >> 20 & 1)) & 0xfff00000u;
    const std::uint32_t r = a < 0x1p-6f ? few : many;
    y[i] = from_bits(r | (to_bits(v) & 0x80000000u)) * scale;
  }
}

void quantise(const QuantiseArgs& a) {
  for (std::int64_t b = 0; b < a.n; b += a.block)
    fp8_block(a.x + b, a.y + b, static_cast<int>(a.n - b < a.block ? a.n - b : a.block));
}

// g / (1 + exp(-g)), by e = exp(-|g|)
inline F16 silu(F16 g) {
  const F16 e = exp_negative(sub(minimum(g, zero()), maximum(g, zero())));
  const F16 top = maximum(e, keep_above(all(1.0f), g, 0.0f));  // 1 where g >= 0, else e
  return divide(mul(g, top), add(all(1.0f), e));
}

void swiglu(const SwigluArgs& a) {
  for (std::int64_t i = 0; i < a.n; i += 16) {
    const int n = lanes_left(i, a.n);
    F16 g = load_first(a.gate + i, n), u = load_first(a.up + i, n);
    if (a.limit > 0) {
      g = minimum(g, all(a.limit));
      u = maximum(minimum(u, all(a.limit)), all(-a.limit));
    }
    const F16 y = mul(all(a.weight), mul(silu(g), u));
    store_first(a.gate + i, n, a.native ? rounded_bf16(y) : y);
  }
}

void collapse(const CollapseArgs& a) {
  const StreamsArgs& s = a.s;
  for (std::int64_t c = s.begin; c < s.end; c += 16) {
    const int n = lanes_left(c, s.end);
    F16 sum = mul(all(a.pre[0]), load_first(s.streams + c, n));
    for (int i = 1; i < s.count; ++i)
      sum = add(sum, mul(all(a.pre[i]), load_first(s.streams + i * s.width + c, n)));
    store_first(a.x + c, n, s.native ? rounded_bf16(sum) : sum);
  }
}

void mix_back(const MixArgs& a) {
  const StreamsArgs& s = a.s;
  for (std::int64_t c = s.begin; c < s.end; c += 16) {
    const int n = lanes_left(c, s.end);
    const F16 out = load_first(a.out + c, n);
    F16 old[kMaxStreams];
    for (int j = 0; j < s.count; ++j) old[j] = load_first(s.streams + j * s.width + c, n);
    for (int k = 0; k < s.count; ++k) {
      F16 sum = mul(all(a.comb[k]), old[0]);
      for (int j = 1; j < s.count; ++j) sum = add(sum, mul(all(a.comb[j * s.count + k]), old[j]));
      const F16 y = add(mul(all(a.post[k]), out), sum);
      store_first(s.streams + k * s.width + c, n, s.native ? rounded_bf16(y) : y);
    }
  }
}
