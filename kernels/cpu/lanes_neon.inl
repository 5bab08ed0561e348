// NEON (armv8-a): sixteen float32 lanes, for linear.inl, attention.inl and indexer.inl.
// 16 lanes are four registers, so that sums are formed in the same order as in the AVX2 and
// AVX-512 kernels, and with the same bits.  Included inside an anonymous namespace.

constexpr int kTileTokens = 6;  // 4 rows x 6 tokens x 4 lanes = 24 of 32 registers hold sums
constexpr int kRowTile = 4;    // rows that one token alone meets together
constexpr int kDenseF16 = 1;   // 4 queries x 1

struct F16 {
  float32x4_t a, b, c, d;  // not an array: gcc 12 would keep sums in memory
};

// Of sixteen lanes, as many as a register has.
using Register = float32x4_t;
constexpr int kRegisterLanes = 4;
inline Register register_zero() { return vdupq_n_f32(0.0f); }
inline Register register_load(const float* p) { return vld1q_f32(p); }
inline void register_store(float* p, Register a) { vst1q_f32(p, a); }
inline Register register_fma(Register a, Register b, Register c) { return vfmaq_f32(c, a, b); }

// The same operation on each register.
template <class Op, class... X>
inline F16 each(Op op, X... x) {
  return {op(x.a...), op(x.b...), op(x.c...), op(x.d...)};
}

inline F16 all(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
inline F16 zero() { return all(0.0f); }
inline F16 load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
inline void store(float* p, F16 x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
// There are no masked loads and stores: fewer than 16 lanes go through memory.
inline F16 load_first(const float* p, int n) {
  if (n == 16) return load(p);
  float lane[16] = {};
  std::memcpy(lane, p, sizeof(float) * static_cast<std::size_t>(n));
  return load(lane);
}
inline void store_first(float* p, int n, F16 x) {
  if (n == 16) return store(p, x);
  float lane[16];
  store(lane, x);
  std::memcpy(p, lane, sizeof(float) * static_cast<std::size_t>(n));
}

using Lanes = float32x4_t;
inline F16 add(F16 x, F16 y) {
  return each([](Lanes a, Lanes b) { return vaddq_f32(a, b); }, x, y);
}
inline F16 sub(F16 x, F16 y) {
  return each([](Lanes a, Lanes b) { return vsubq_f32(a, b); }, x, y);
}
inline F16 mul(F16 x, F16 y) {
  return each([](Lanes a, Lanes b) { return vmulq_f32(a, b); }, x, y);
}
inline F16 divide(F16 x, F16 y) {
  return each([](Lanes a, Lanes b) { return vdivq_f32(a, b); }, x, y);
}
inline F16 fma(F16 x, F16 y, F16 z) {
  return each([](Lanes a, Lanes b, Lanes c) { return vfmaq_f32(c, a, b); }, x, y, z);
}
inline F16 maximum(F16 x, F16 y) {
  return each([](Lanes a, Lanes b) { return vmaxq_f32(a, b); }, x, y);
}
inline F16 minimum(F16 x, F16 y) {
  return each([](Lanes a, Lanes b) { return vminq_f32(a, b); }, x, y);
}
inline F16 nearest(F16 x) {
  return each([](Lanes a) { return vrndnq_f32(a); }, x);
}
// x * 2^n for integral n in [-126, 127].
inline F16 scale_by(F16 x, F16 n) {
  const auto scaled = [](Lanes a, Lanes e) {
    const int32x4_t u = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(e), vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_s32(u));
  };
  return each(scaled, x, n);
}
// x where y > limit, else 0.
inline F16 keep_above(F16 x, F16 y, float limit) {
  const auto kept = [](Lanes a, Lanes b, Lanes l) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vcgtq_f32(b, l)));
  };
  return each(kept, x, y, all(limit));
}
inline F16 rounded_bf16(F16 x) {
  const auto rounded = [](Lanes a) {
    const uint32x4_t u = vreinterpretq_u32_f32(a);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t r = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    return vreinterpretq_f32_u32(vandq_u32(r, vdupq_n_u32(0xffff0000u)));
  };
  return each(rounded, x);
}
// Lanes are folded in halves: see lanes_avx512.inl.
inline float fold(F16 x) {
  const float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
  return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}

// 16 e4m3 codes times 2^-kFp8Shift, by way of float16: see lanes_avx512.inl.  The conversion
// ignores FPCR.FZ16, its results are normal float32 that FZ leaves alone, and exponents stay
// below the one that FPCR.AHP reads differently.
constexpr int kFp8Shift = 8;
inline F16 fp8_lanes(int8x16_t c) {
  const int16x8_t no_exponent_top = vdupq_n_s16(-0x4001);
  const int16x8_t low = vandq_s16(vshll_n_s8(vget_low_s8(c), 7), no_exponent_top);
  const int16x8_t high = vandq_s16(vshll_high_n_s8(c, 7), no_exponent_top);
  const float16x8_t a = vreinterpretq_f16_s16(low), b = vreinterpretq_f16_s16(high);
  return {vcvt_f32_f16(vget_low_f16(a)), vcvt_high_f32_f16(a), vcvt_f32_f16(vget_low_f16(b)),
          vcvt_high_f32_f16(b)};
}
inline F16 from_fp8(const std::uint8_t* p) { return fp8_lanes(vreinterpretq_s8_u8(vld1q_u8(p))); }

inline float32x4_t bf16_low(uint16x8_t u) {
  return vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(u), 16));
}
inline float32x4_t bf16_high(uint16x8_t u) {
  return vreinterpretq_f32_u32(vshll_high_n_u16(u, 16));
}
inline F16 from_bf16(uint16x8_t a, uint16x8_t b) {
  return {bf16_low(a), bf16_high(a), bf16_low(b), bf16_high(b)};
}
inline F16 from_bf16(const std::uint8_t* p) {
  return from_bf16(vreinterpretq_u16_u8(vld1q_u8(p)), vreinterpretq_u16_u8(vld1q_u8(p + 16)));
}

// 16 e2m1 codes in bytes as bf16, which holds them exactly: one table lookup per byte.
inline void fp4_to_bf16(uint8x16_t code, uint16x8_t* a, uint16x8_t* b) {
  alignas(16) constexpr std::uint8_t kTop[16] = {0x00, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40,
                                                 0x80, 0xbf, 0xbf, 0xbf, 0xc0, 0xc0, 0xc0, 0xc0};
  alignas(16) constexpr std::uint8_t kBottom[16] = {0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0,
                                                    0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0};
  const uint8x16_t top = vqtbl1q_u8(vld1q_u8(kTop), code);
  const uint8x16_t bottom = vqtbl1q_u8(vld1q_u8(kBottom), code);
  *a = vreinterpretq_u16_u8(vzip1q_u8(bottom, top));
  *b = vreinterpretq_u16_u8(vzip2q_u8(bottom, top));
}
inline F16 fp4_lanes(uint8x16_t code) {
  uint16x8_t a, b;
  fp4_to_bf16(code, &a, &b);
  return from_bf16(a, b);
}
// 16 e2m1 codes (8 bytes, low nibble first), unscaled.
inline F16 from_fp4(const std::uint8_t* p) {
  const uint8x8_t pair = vld1_u8(p);
  const uint8x8_t low = vand_u8(pair, vdup_n_u8(15)), high = vshr_n_u8(pair, 4);
  return fp4_lanes(vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high)));
}
// 32 e2m1 codes (16 bytes) times `factor`.
inline void from_fp4_32(const std::uint8_t* p, float factor, F16* w0, F16* w1) {
  const uint8x16_t pair = vld1q_u8(p);
  const uint8x16_t low = vandq_u8(pair, vdupq_n_u8(15)), high = vshrq_n_u8(pair, 4);
  const F16 f = all(factor);
  *w0 = mul(fp4_lanes(vzip1q_u8(low, high)), f);
  *w1 = mul(fp4_lanes(vzip2q_u8(low, high)), f);
}
