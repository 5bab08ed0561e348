// CUDA's built-in functions, as far as kernels here use them.
#pragma once

// Arithmetic that the compiler must not contract; the host's never does (-ffp-contract=off).
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float rsqrtf(float a) { return static_cast<float>(1.0 / sqrt(double{a})); }

#define V4I_LEAST_AND_MOST(T)                             \
  static inline T min(T a, T b) { return b < a ? b : a; } \
  static inline T max(T a, T b) { return a < b ? b : a; }
V4I_LEAST_AND_MOST(int)
V4I_LEAST_AND_MOST(unsigned)
V4I_LEAST_AND_MOST(long)
V4I_LEAST_AND_MOST(unsigned long)
V4I_LEAST_AND_MOST(long long)
V4I_LEAST_AND_MOST(unsigned long long)
#undef V4I_LEAST_AND_MOST
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

// Bits.
namespace v4i::emulate {
template <class To, class From>
inline To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace v4i::emulate

static inline float __uint_as_float(unsigned u) { return v4i::emulate::same_bits<float>(u); }
static inline unsigned __float_as_uint(float f) { return v4i::emulate::same_bits<unsigned>(f); }
static inline float __int_as_float(int i) { return v4i::emulate::same_bits<float>(i); }
static inline int __float_as_int(float f) { return v4i::emulate::same_bits<int>(f); }
static inline int __float2int_rn(float f) { return static_cast<int>(nearbyintf(f)); }
static inline int __popc(unsigned u) { return __builtin_popcount(u); }
static inline int __popcll(unsigned long long u) { return __builtin_popcountll(u); }
static inline int __clz(int i) { return i == 0 ? 32 : __builtin_clz(static_cast<unsigned>(i)); }
static inline int __clzll(long long i) {
  return i == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(i));
}
static inline int __ffs(int i) { return __builtin_ffs(i); }
static inline int __ffsll(long long i) { return __builtin_ffsll(i); }
static inline unsigned __brev(unsigned u) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (u >> i & 1) << (31 - i);
  return r;
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long all = static_cast<unsigned long long>(y) << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned s = selector >> 4 * i;
    r |= static_cast<unsigned>(all >> 8 * (s & 7) & 255) << 8 * i;
  }
  return r;
}
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
  return static_cast<unsigned>((static_cast<unsigned long long>(hi) << 32 | lo) << (n & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
  return static_cast<unsigned>((static_cast<unsigned long long>(hi) << 32 | lo) >> (n & 31));
}

// Loads and stores with a hint for the cache.
template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline T __ldcg(const T* p) {
  return *p;
}
template <class T>
inline void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
inline void __stcg(T* p, T v) {
  *p = v;
}

static inline void __threadfence() {}
static inline void __threadfence_block() {}
#define __trap() ::v4i::emulate::fail("__trap")

// Atomics: fibres are not interrupted between barriers.
namespace v4i::emulate {
template <class T, class Change>
__attribute__((no_sanitize("thread"))) inline T atomic(T* p, Change change) {
  note_atomic(p, sizeof(T), __builtin_return_address(0));
  const T old = *p;
  *p = change(old);
  return old;
}
template <class T>
struct Same {
  using Type = T;
};
template <class T>
inline T wrapping_add(T a, T b) {
  T sum;
  static_cast<void>(__builtin_add_overflow(a, b, &sum));
  return sum;
}
}  // namespace v4i::emulate

#define V4I_ATOMIC(name, expression)                                                   \
  template <class T>                                                                   \
  inline T name(T* p, typename ::v4i::emulate::Same<T>::Type v) {                      \
    static_assert(!__is_same(T, float) && !__is_same(T, double), "order of the sums"); \
    return ::v4i::emulate::atomic(p, [v](T old) -> T { return expression; });          \
  }
V4I_ATOMIC(atomicAdd, ::v4i::emulate::wrapping_add(old, v))
V4I_ATOMIC(atomicMin, v < old ? v : old)
V4I_ATOMIC(atomicMax, old < v ? v : old)
V4I_ATOMIC(atomicOr, old | v)
V4I_ATOMIC(atomicAnd, old& v)
V4I_ATOMIC(atomicXor, old ^ v)
V4I_ATOMIC(atomicExch, (static_cast<void>(old), v))
#undef V4I_ATOMIC
template <class T>
inline T atomicCAS(T* p, typename ::v4i::emulate::Same<T>::Type expected,
                   typename ::v4i::emulate::Same<T>::Type v) {
  return ::v4i::emulate::atomic(p, [=](T old) -> T { return old == expected ? v : old; });
}
