// Pooling of a compressed row in terms of F16, sixteen float32 lanes; after exp.inl.

// Channels [c, c + n) of one row, n <= 16.
inline void pool_lanes(const PoolArgs& a, std::int64_t c, int n) {
  F16 top = load_first(a.value[0] + a.gate_offset + c, n);
  for (int i = 1; i < a.count; ++i)
    top = maximum(top, load_first(a.value[i] + a.gate_offset + c, n));
  F16 total = zero(), sum = zero();
  for (int i = 0; i < a.count; ++i) {
    const F16 e = exp_negative(sub(load_first(a.value[i] + a.gate_offset + c, n), top));
    total = add(total, e);
    sum = fma(e, load_first(a.value[i] + c, n), sum);
  }
  store_first(a.out + c, n, divide(sum, total));
}

void pool(const PoolArgs& a) {
  for (std::int64_t c = a.begin; c < a.end; c += 16)
    pool_lanes(a, c, a.end - c < 16 ? static_cast<int>(a.end - c) : 16);
}
