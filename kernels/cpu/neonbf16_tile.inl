// Pairs of rows and pairs of tokens for bfmmla, and the tile that multiplies them.  Included by
// neonbf16_linear.cc after lanes_neon.inl, inside its anonymous namespace.

// Sixteen columns of two rows: a holds columns 0 to 3 of the first row, then of the second;
// b columns 4 to 7, c 8 to 11, d 12 to 15.
struct Quads {
  uint16x8_t a, b, c, d;
};

inline Quads load(const std::uint16_t* p) {
  return {vld1q_u16(p), vld1q_u16(p + 8), vld1q_u16(p + 16), vld1q_u16(p + 24)};
}
inline void store(std::uint16_t* p, Quads q) {
  vst1q_u16(p, q.a);
  vst1q_u16(p + 8, q.b);
  vst1q_u16(p + 16, q.c);
  vst1q_u16(p + 24, q.d);
}

// The upper halves of eight float32: exact for bf16 values.
inline uint16x8_t bf16_of(float32x4_t a, float32x4_t b) {
  return vuzp2q_u16(vreinterpretq_u16_f32(a), vreinterpretq_u16_f32(b));
}

inline uint16x8_t load_bf16(const std::uint8_t* p) { return vreinterpretq_u16_u8(vld1q_u8(p)); }
inline uint16x8_t first_halves(uint16x8_t x, uint16x8_t y) {
  return vreinterpretq_u16_u64(vzip1q_u64(vreinterpretq_u64_u16(x), vreinterpretq_u64_u16(y)));
}
inline uint16x8_t second_halves(uint16x8_t x, uint16x8_t y) {
  return vreinterpretq_u16_u64(vzip2q_u64(vreinterpretq_u64_u16(x), vreinterpretq_u64_u16(y)));
}

// Rows of W, the first of a pair at p, the second at q, before scaling.
template <Format kFormat>
inline Quads quads(const std::uint8_t* p, const std::uint8_t* q, std::int64_t k) {
  if constexpr (kFormat == Format::kBF16) {
    const uint16x8_t p0 = load_bf16(p + 2 * k), p1 = load_bf16(p + 2 * k + 16);
    const uint16x8_t q0 = load_bf16(q + 2 * k), q1 = load_bf16(q + 2 * k + 16);
    return {first_halves(p0, q0), second_halves(p0, q0), first_halves(p1, q1),
            second_halves(p1, q1)};
  } else if constexpr (kFormat == Format::kFp8) {  // times 2^-kFp8Shift
    const uint32x4_t u = vreinterpretq_u32_u8(vld1q_u8(p + k));
    const uint32x4_t v = vreinterpretq_u32_u8(vld1q_u8(q + k));
    const F16 x = fp8_lanes(vreinterpretq_s8_u32(vzip1q_u32(u, v)));
    const F16 y = fp8_lanes(vreinterpretq_s8_u32(vzip2q_u32(u, v)));
    return {bf16_of(x.a, x.b), bf16_of(x.c, x.d), bf16_of(y.a, y.b), bf16_of(y.c, y.d)};
  } else {
    const uint16x4_t u = vreinterpret_u16_u8(vld1_u8(p + k / 2));
    const uint16x4_t v = vreinterpret_u16_u8(vld1_u8(q + k / 2));
    const uint8x16_t four = vreinterpretq_u8_u16(vcombine_u16(vzip1_u16(u, v), vzip2_u16(u, v)));
    const uint8x16_t low = vandq_u8(four, vdupq_n_u8(15)), high = vshrq_n_u8(four, 4);
    Quads out;
    fp4_to_bf16(vzip1q_u8(low, high), &out.a, &out.b);
    fp4_to_bf16(vzip2q_u8(low, high), &out.c, &out.d);
    return out;
  }
}

// What a product is made for: a format, and the columns of a sum that is multiplied by one scale.
template <Format kOf, int kSum>
struct Form {
  static constexpr Format kFormat = kOf;
  static constexpr std::int64_t kColumns = kSum;
};
using Bf16 = Form<Format::kBF16, 128>;
using Fp8 = Form<Format::kFp8, 128>;
using Fp8By32 = Form<Format::kFp8, 32>;
using Fp4 = Form<Format::kFp4, 32>;

template <class F>
inline const std::uint8_t* scales_of(const Weight& w, std::int64_t r) {
  if (F::kFormat == Format::kBF16) return nullptr;
  return w.scale + r / w.block_rows * (w.cols / F::kColumns);
}

// A pair of rows of W in memory.
template <class F>
struct Rows {
  const std::uint8_t *p, *q, *p_scale, *q_scale;

  Quads at(std::int64_t k) const { return quads<F::kFormat>(p, q, k); }
  // What a block's sums are multiplied by: both tokens of the first row, then of the second.
  float32x4_t factor(std::int64_t block) const {
    constexpr int kShift = F::kFormat == Format::kFp8 ? kFp8Shift : 0;
    const float f = power_of_two(plain_code(p_scale[block]) - 127 + kShift);
    const float g = power_of_two(plain_code(q_scale[block]) - 127 + kShift);
    return vcombine_f32(vdup_n_f32(f), vdup_n_f32(g));
  }
  // Other rows are computed again in float32; here they only must not leave power_of_two.
  static int plain_code(std::uint8_t code) { return plain_scale(code) ? code : 127; }
};

// The same rows as bf16 in scratch.
struct Panel {
  const std::uint16_t* words;
  Quads at(std::int64_t k) const { return load(words + 2 * k); }
};

// Rows r and r + 1; past the end of the call the last row again, whose sums are not stored.
template <class F>
inline Rows<F> rows_of(const LinearArgs& a, std::int64_t r) {
  const std::int64_t last = a.row_end - 1, i = r < last ? r : last, j = r + 1 < last ? r + 1 : last;
  const auto* data = static_cast<const std::uint8_t*>(a.w.data);
  const std::int64_t bytes = F::kFormat == Format::kFp4    ? a.w.cols / 2
                             : F::kFormat == Format::kBF16 ? 2 * a.w.cols
                                                           : a.w.cols;
  return {data + i * bytes, data + j * bytes, scales_of<F>(a.w, i), scales_of<F>(a.w, j)};
}

template <class F>
inline bool plain_row(const Weight& w, std::int64_t r) {
  const std::uint8_t* s = scales_of<F>(w, r);
  bool plain = true;
  for (std::int64_t i = 0; i < w.cols / F::kColumns; ++i) plain &= plain_scale(s[i]);
  return plain;
}

inline const float* token_row(const LinearArgs& a, std::int64_t t) {
  return a.x + (a.x_row != nullptr ? a.x_row[t] : t) * a.x_stride;
}

// Two tokens as bf16, four columns of one, then of the other.
inline void pack_pair(const float* x, const float* y, std::int64_t cols, std::uint16_t* out) {
  for (std::int64_t k = 0; k < cols; k += 4)
    vst1q_u16(out + 2 * k, bf16_of(vld1q_f32(x + k), vld1q_f32(y + k)));
}

inline float32x4_t dot(float32x4_t sum, uint16x8_t rows, uint16x8_t tokens) {
  return vbfmmlaq_f32(sum, vreinterpretq_bf16_u16(rows), vreinterpretq_bf16_u16(tokens));
}

inline void put(const LinearArgs& a, std::int64_t t, std::int64_t r, float y) {
  a.y[t * a.y_stride + r - a.y_begin] = a.round_bf16 ? round_bf16(y) : y;
}

// Rows from r0 on, kR pairs, times `tokens` tokens from t0 on, kT packed pairs.
template <class F, int kR, int kT, class Source>
inline void tile(const LinearArgs& a, const Rows<F>* scale, const Source* w, const std::uint16_t* x,
                 std::int64_t r0, std::int64_t t0, int tokens) {
  const std::int64_t cols = a.w.cols;
  float32x4_t sum[kR][kT];
  for (int i = 0; i < kR; ++i)
    for (int t = 0; t < kT; ++t) sum[i][t] = vdupq_n_f32(0.0f);
  for (std::int64_t k = 0, block = 0; k < cols; ++block) {
    float32x4_t p[kR][kT];
    for (int i = 0; i < kR; ++i)
      for (int t = 0; t < kT; ++t) p[i][t] = vdupq_n_f32(0.0f);
    for (const std::int64_t end = k + F::kColumns; k < end; k += 16) {
      Quads v[kT];
      for (int t = 0; t < kT; ++t) v[t] = load(x + 2 * (t * cols + k));
      for (int i = 0; i < kR; ++i) {
        const Quads u = w[i].at(k);
        for (int t = 0; t < kT; ++t)
          p[i][t] = dot(dot(dot(dot(p[i][t], u.a, v[t].a), u.b, v[t].b), u.c, v[t].c), u.d, v[t].d);
      }
    }
    for (int i = 0; i < kR; ++i) {
      const float32x4_t f =
          F::kFormat == Format::kBF16 ? vdupq_n_f32(1.0f) : scale[i].factor(block);
      for (int t = 0; t < kT; ++t) sum[i][t] = vfmaq_f32(sum[i][t], p[i][t], f);
    }
  }
  const std::int64_t rows = a.row_end - r0;
  for (int i = 0; i < kR; ++i) {
    for (int t = 0; t < kT; ++t) {
      alignas(16) float y[4];  // [row][token]
      vst1q_f32(y, sum[i][t]);
      for (int j = 0; j < 4; ++j)
        if (2 * i + j / 2 < rows && 2 * t + j % 2 < tokens)
          put(a, t0 + 2 * t + j % 2, r0 + 2 * i + j / 2, y[j]);
    }
  }
}
