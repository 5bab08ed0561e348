// Norm, rotation and stored forms of rows: plain loops that a compiler turns into the vectors
// of the file that includes them, without changing a bit (no contraction, no reordering).
// Included inside an anonymous namespace.

using V16 = float __attribute__((vector_size(64), aligned(4), may_alias));

inline void round_all(float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = round_bf16(x[i]);
}

// x / rms(x), every step rounded to bf16 as the reference does.
inline void normalise_native(float* x, int dim, float eps) {
  float sum[16] = {};
  int c = 0;
  for (; c + 16 <= dim; c += 16)
    for (int l = 0; l < 16; ++l) sum[l] += round_bf16(x[c + l] * x[c + l]);
  for (int l = 0; c < dim; ++c, ++l) sum[l] += round_bf16(x[c] * x[c]);
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) sum[l] += sum[l + half];
  const float mean = round_bf16(sum[0] / static_cast<float>(dim));
  const float scale = round_bf16(1.0f / __builtin_sqrtf(round_bf16(mean + eps)));
  for (int i = 0; i < dim; ++i) x[i] = round_bf16(x[i] * scale);
}

inline void normalise_exact(float* x, int dim, float eps) {
  float sum[16] = {};
  int c = 0;
  for (; c + 16 <= dim; c += 16)
    for (int l = 0; l < 16; ++l) sum[l] += x[c + l] * x[c + l];
  for (int l = 0; c < dim; ++c, ++l) sum[l] += x[c] * x[c];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) sum[l] += sum[l + half];
  const float scale = 1.0f / __builtin_sqrtf(sum[0] / static_cast<float>(dim) + eps);
  for (int i = 0; i < dim; ++i) x[i] *= scale;
}

// Cosines and sines as the channels need them: x' = x cos + (the pair's other) sin.
struct Turn {
  alignas(64) float cos[kMaxRope], sin[kMaxRope];
};
inline void make_turn(const float* cos_sin, int rope, bool inverse, Turn* t) {
  const int half = rope / 2;
  for (int i = 0; i < half; ++i) {
    const float s = inverse ? -cos_sin[half + i] : cos_sin[half + i];
    t->cos[2 * i] = t->cos[2 * i + 1] = cos_sin[i];
    t->sin[2 * i] = -s;
    t->sin[2 * i + 1] = s;
  }
}

inline void rotate(float* x, int rope, const Turn& t, bool round) {
  int i = 0;
  for (; i + 16 <= rope; i += 16) {
    V16& v = *reinterpret_cast<V16*>(x + i);
    const V16 other =
        __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    v = v * *reinterpret_cast<const V16*>(t.cos + i) +
        other * *reinterpret_cast<const V16*>(t.sin + i);
  }
  for (; i < rope; i += 2) {
    const float a = x[i], b = x[i + 1];
    x[i] = a * t.cos[i] + b * t.sin[i];
    x[i + 1] = b * t.cos[i + 1] + a * t.sin[i + 1];
  }
  if (round) round_all(x, rope);
}

// Butterflies of distance 1, 2, 4, 8 within vectors, then of whole vectors.
inline void hadamard16(float* x, int n, float scale) {
  const V16 s1 = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
  const V16 s2 = {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1};
  const V16 s4 = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
  const V16 s8 = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
  for (int i = 0; i < n; i += 16) {
    V16 v = *reinterpret_cast<V16*>(x + i);
    v = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14) +
        v * s1;
    v = __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13) +
        v * s2;
    v = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11) +
        v * s4;
    v = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7) +
        v * s8;
    *reinterpret_cast<V16*>(x + i) = v;
  }
  for (int h = 16; h < n; h *= 2)
    for (int i = 0; i < n; i += 2 * h)
      for (int j = i; j < i + h; ++j) {
        const float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
  for (int i = 0; i < n; ++i) x[i] *= scale;
}

// The greatest |x|: magnitudes of floats sort as integers.
inline float top_of(const float* x, int n) {
  std::uint32_t top = 0;
  for (int i = 0; i < n; ++i) {
    const std::uint32_t u = to_bits(x[i]) & 0x7fffffffu;
    top = u > top ? u : top;
  }
  return from_bits(top);
}

// The nearest integer, ties to even, of |x| < 2^22.
inline float nearest_integer(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
inline float least(float a, float b) { return a < b ? a : b; }
inline float most(float a, float b) { return a > b ? a : b; }

// 1 / 2^e is representable up to e = 126; a larger scale means |x| > 2^128.
inline float inverse_power(int e) { return power_of_two(-e < 127 ? (-e > -126 ? -e : -126) : 127); }

inline int fp8_exponent(const float* x, int n) {
  return ceil_log2(most(top_of(x, n), 1e-4f) * (1.0f / 448.0f));
}

// fp4_sim of one block: steps of 1/2 up to 2, of 1 up to 4, of 2 up to 6.
inline void fp4_block(float* x, int n) {
  const int found = ceil_log2(most(top_of(x, n), 6.0f * 0x1p-126f) * (1.0f / 6.0f));
  const int e = found > -126 ? found : -126;
  const float scale = power_of_two(e), inverse = inverse_power(e);
  for (int i = 0; i < n; ++i) {
    const float v = x[i] * inverse;
    const float a = least(from_bits(to_bits(v) & 0x7fffffffu), 6.0f);
    const float low = nearest_integer(2.0f * least(a, 2.0f)) * 0.5f;
    const float middle = nearest_integer(least(most(a, 2.0f), 4.0f) - 2.0f);
    const float high = nearest_integer((most(a, 4.0f) - 4.0f) * 0.5f) * 2.0f;
    const float r = low + middle + high;
    x[i] = from_bits(to_bits(r) | (to_bits(v) & 0x80000000u)) * scale;
  }
}

// e4m3 codes of one block under one scale, which is returned.
inline std::uint8_t pack_block(const float* x, int n, std::uint8_t* out) {
  const int e = fp8_exponent(x, n);
  const float inverse = inverse_power(e);
  for (int i = 0; i < n; ++i) {
    const float v = x[i] * inverse;
    const float a = least(from_bits(to_bits(v) & 0x7fffffffu), 448.0f);
    const bool small = a < 0x1p-6f;  // subnormal codes: steps of 2^-9
    constexpr float kShift = 1.5f * 0x1p14f;
    const std::uint32_t few = to_bits(((a + kShift) - kShift) + 0x1p-6f) - (121u << 23);
    const std::uint32_t many = to_bits(a) + 0x7ffff + (to_bits(a) >> 20 & 1) - (120u << 23);
    out[i] = static_cast<std::uint8_t>((small ? few : many) >> 20 | (to_bits(v) >> 24 & 0x80));
  }
  return static_cast<std::uint8_t>(e + 127);
}

// ---- the operations

void query_heads(const HeadsArgs& a) {
  Turn turn;
  make_turn(a.cos_sin, a.rope, false, &turn);
  for (std::int64_t h = 0; h < a.count; ++h) {
    float* x = a.x + h * a.dim;
    if (!a.plain) (a.native ? normalise_native : normalise_exact)(x, a.dim, a.eps);
    rotate(x + a.dim - a.rope, a.rope, turn, a.native);
  }
}

void output_heads(const HeadsArgs& a) {
  Turn turn;
  make_turn(a.cos_sin, a.rope, true, &turn);
  for (std::int64_t h = 0; h < a.count; ++h)
    rotate(a.x + (h + 1) * a.dim - a.rope, a.rope, turn, a.native);
}

void index_heads(const HeadsArgs& a) {
  Turn turn;
  make_turn(a.cos_sin, a.rope, false, &turn);
  const auto scale = static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(a.dim)));
  for (std::int64_t h = 0; h < a.count; ++h) {
    float* x = a.x + h * a.dim;
    rotate(x + a.dim - a.rope, a.rope, turn, a.native);
    if (!a.native) continue;
    if (!a.plain) {
      if (a.dim % 16 == 0)
        hadamard16(x, a.dim, scale);
      else
        hadamard(x, a.dim);
      round_all(x, a.dim);
    }
    for (int b = 0; b < a.dim; b += 32) fp4_block(x + b, a.dim - b < 32 ? a.dim - b : 32);
  }
}

void store_row(const PackArgs& a) {
  if (a.form == RowForm::kFp8) {
    for (int b = 0; b < a.dim; b += 32)
      a.out[a.dim + b / 32] = pack_block(a.x + b, a.dim - b < 32 ? a.dim - b : 32, a.out + b);
    return;
  }
  if (a.form != RowForm::kFp8Rope16) return pack_row(a.x, a.dim, a.rope, a.out, a.form);
  const int plain = a.dim - a.rope;
  std::uint8_t* scales = a.out + plain + 2 * a.rope;
  for (int b = 0; b < plain; b += 64)
    scales[b / 64] = pack_block(a.x + b, plain - b < 64 ? plain - b : 64, a.out + b);
  for (int i = 0; i < a.rope; ++i) {
    const std::uint16_t code = encode_bf16(a.x[plain + i]);
    std::memcpy(a.out + plain + 2 * i, &code, sizeof code);
  }
}
