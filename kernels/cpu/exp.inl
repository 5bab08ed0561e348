// exp of sixteen float32 lanes; included after lanes_*.inl.

// exp(x) for x <= 0, within 2 units in the last place; 0 below 2^-125.
inline F16 exp_negative(F16 x) {
  const F16 n = nearest(mul(x, all(1.44269504f)));
  F16 r = fma(n, all(-0.693359375f), x);
  r = fma(n, all(2.12194440e-4f), r);
  F16 p = all(1.9875691500e-4f);
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  p = add(fma(mul(r, r), p, r), all(1.0f));
  return keep_above(scale_by(p, maximum(n, all(-126.0f))), x, -87.0f);
}

inline float exp_negative(float x) {
  alignas(64) float v[16];
  store(v, exp_negative(all(x)));
  return v[0];
}
