// CUDA's vector types, with its sizes and alignments.
#pragma once

#define V4I_VECTORS(Name, T, bytes)                                         \
  struct alignas(bytes * 2) Name##2 {                                       \
    T x, y;                                                                 \
  };                                                                        \
  struct Name##3 {                                                          \
    T x, y, z;                                                              \
  };                                                                        \
  struct alignas(bytes * 4 < 16 ? bytes * 4 : 16) Name##4 {                 \
    T x, y, z, w;                                                           \
  };                                                                        \
  static inline Name##2 make_##Name##2(T x, T y) { return {x, y}; }         \
  static inline Name##3 make_##Name##3(T x, T y, T z) { return {x, y, z}; } \
  static inline Name##4 make_##Name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

V4I_VECTORS(char, signed char, 1)
V4I_VECTORS(uchar, unsigned char, 1)
V4I_VECTORS(short, short, 2)
V4I_VECTORS(ushort, unsigned short, 2)
V4I_VECTORS(int, int, 4)
V4I_VECTORS(uint, unsigned, 4)
V4I_VECTORS(float, float, 4)
V4I_VECTORS(longlong, long long, 8)
V4I_VECTORS(ulonglong, unsigned long long, 8)
V4I_VECTORS(double, double, 8)

#undef V4I_VECTORS
