// What needs PTX, each with its plain twin for the emulator.
//
// bfloat16 values travel in pairs: the element of the lower index in the lower half of a word.
#pragma once

#include "kernels/cuda/kernel.cuh"
#include "kernels/formats.h"

namespace v4i::kernels::cuda {

V4I_DEVICE int lane() { return static_cast<int>(threadIdx.x % 32); }
// lane(), of which the compiler does not know that it is the same each time: what follows from it
// is computed where it is used and not kept in registers from one use to the next.
V4I_DEVICE int lane_anew() {
  unsigned l = threadIdx.x;
#if !defined(V4I_EMULATED)
  asm volatile("" : "+r"(l));
#endif
  return static_cast<int>(l % 32);
}
V4I_DEVICE int warp() { return static_cast<int>(threadIdx.x / 32); }

// ---- memory

// 16 bytes that are read once, such as weights: they do not displace others in the first cache.
V4I_DEVICE uint4 load16(const void* p) {
#if V4I_EMULATED
  return *static_cast<const uint4*>(p);
#else
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(__cvta_generic_to_global(p)));
  return v;
#endif
}

// 16 bytes from global to shared memory, both aligned, without waiting for them.  Copies up to a
// copy_commit() form a group; copy_wait<N>() waits until at most the N newest groups of this thread
// are on their way.  Other threads see the bytes after a barrier behind the wait.
V4I_DEVICE void copy16_async(void* shared, const void* global) {
#if V4I_EMULATED
  emulate::copy_async(shared, global, 16);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global))
               : "memory");
#endif
}

V4I_DEVICE void copy_commit() {
#if V4I_EMULATED
  emulate::copy_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int N>
V4I_DEVICE void copy_wait() {
#if V4I_EMULATED
  emulate::copy_wait(N);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// Adds v and returns what was there; p in shared or global memory.
V4I_DEVICE int atomic_add(int* p, int v) { return atomicAdd(p, v); }
V4I_DEVICE uint32_t atomic_add(uint32_t* p, uint32_t v) { return atomicAdd(p, v); }

// ---- formats.  round_bf16(float) and more are in formats.h.

// Rounds both to bfloat16, to nearest even.
V4I_DEVICE uint32_t pack_bf16(float low, float high) {
#if V4I_EMULATED
  return uint32_t{encode_bf16(low)} | uint32_t{encode_bf16(high)} << 16;
#else
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

// Like pack_bf16, and what is negative becomes zero.
V4I_DEVICE uint32_t pack_relu_bf16(float low, float high) {
#if V4I_EMULATED
  return pack_bf16(fmaxf(low, 0.0f), fmaxf(high, 0.0f));
#else
  uint32_t pair;
  asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

V4I_DEVICE float low_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
V4I_DEVICE float high_bf16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// Two products, each rounded to bfloat16.
V4I_DEVICE uint32_t multiply_bf16(uint32_t a, uint32_t b) {
#if V4I_EMULATED
  return pack_bf16(low_bf16(a) * low_bf16(b), high_bf16(a) * high_bf16(b));
#else
  uint32_t product;  // sm_80 has no plain product: a b - 0
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
  return product;
#endif
}

// The pair 2^(code - 127), 2^(code - 127) of a ue8m0 scale; codes 0 and 255 are not in use.
V4I_DEVICE uint32_t bf16_power_of_two(uint8_t code) {
  const uint32_t c = code < 1 ? 1u : code > 254 ? 254u : code;
  return (c << 7) * 0x10001u;
}

// Four e4m3 codes as two pairs, exactly.  A code's exponent and mantissa, moved to bfloat16's
// places, are the value times 2^-120, subnormal codes included.
V4I_DEVICE void fp8_to_bf16(uint32_t codes, uint32_t (&out)[2]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t high_bytes = __byte_perm(codes, 0, i == 0 ? 0x1404 : 0x3424);
    out[i] = multiply_bf16((high_bytes & 0x80008000u) | (high_bytes >> 4 & 0x07f007f0u),
                           0x7b807b80u);  // 2^120
  }
}

// Eight e2m1 codes, the low nibble of a byte first, as four pairs, exactly; likewise with 2^-126.
V4I_DEVICE void fp4_to_bf16(uint32_t codes, uint32_t (&out)[4]) {
  const uint32_t raised = codes << 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // byte i of `raised` to byte 1, of `codes` to byte 3
    const uint32_t high_nibbles = __byte_perm(raised, codes, 0x4000u + 0x1010u * i);
    out[i] = multiply_bf16((high_nibbles & 0x80008000u) | (high_nibbles >> 6 & 0x01c001c0u),
                           0x7e807e80u);  // 2^126
  }
}

V4I_DEVICE float fp8_value(uint8_t code) {
  return __uint_as_float((code & 0x80u) << 24 | (code & 0x7fu) << 20) * 0x1p120f;
}

V4I_DEVICE float fp4_value(unsigned code) {
  return __uint_as_float((code & 8u) << 28 | (code & 7u) << 22) * 0x1p126f;
}

V4I_DEVICE float ue8m0_value(uint8_t code) {
  return __uint_as_float(code == 0 ? 0x00400000u : uint32_t{code} << 23);
}

// ---- a warp.  All its lanes take part in each of these.

// d += a b: a [16, 16] and b [16, 8] of bfloat16, d [16, 8] of float32.  Lane 4 g + t holds
//   a: rows g, g + 8, g, g + 8; columns 2 t and 2 t + 1, in a[2] and a[3] those plus 8
//   b: column g; rows 2 t and 2 t + 1, in b[1] those plus 8
//   d: row g, columns 2 t and 2 t + 1; in d[2] and d[3] row g + 8
V4I_DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] V4I_PLACE) {
#if V4I_EMULATED
  emulate::mma_bf16(d, a, b, place);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// ldmatrix: N (1, 2, 4) matrices of 8 rows of 16 bytes in shared memory.  Lane 8 m + r gives the
// address of row r of matrix m, aligned to 16 (other lanes' are not used); lane 4 g + t gets in
// out[m] the words t of row g: the fragments of mma_bf16.
template <int N>
V4I_DEVICE void load_matrices(uint32_t (&out)[N], const void* row V4I_PLACE) {
#if V4I_EMULATED
  emulate::load_matrices(out, row, N, place);
#else
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (N == 4)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at)
                 : "memory");
  else if constexpr (N == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(out[0])
                 : "r"(at)
                 : "memory");
#endif
}

// The value of lane `from`.
#if V4I_EMULATED
template <class T>
V4I_DEVICE T shuffle(T v, int from V4I_PLACE) {
  uint64_t bits = 0;
  memcpy(&bits, &v, sizeof v);
  bits = emulate::shuffle(bits, from, place);
  memcpy(&v, &bits, sizeof v);
  return v;
}
#else
template <class T>
V4I_DEVICE T shuffle(T v, int from) {
  return __shfl_sync(0xffffffffu, v, from);
}
#endif

template <class T>
V4I_DEVICE T shuffle_xor(T v, int mask V4I_PLACE) {
#if V4I_EMULATED
  return shuffle(v, lane() ^ mask, place);
#else
  return __shfl_xor_sync(0xffffffffu, v, mask);
#endif
}

// Over all lanes; every lane gets the same bits.
V4I_DEVICE float warp_sum(float v V4I_PLACE) {
#if V4I_EMULATED
  return emulate::warp_sum(v, place);
#else
#pragma unroll
  for (int mask = 16; mask != 0; mask /= 2) v = __fadd_rn(v, shuffle_xor(v, mask));
  return v;
#endif
}

V4I_DEVICE float warp_max(float v V4I_PLACE) {
#if V4I_EMULATED
  return emulate::warp_max(v, place);
#else
#pragma unroll
  for (int mask = 16; mask != 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
  return v;
#endif
}

// Bit i: what lane i votes.
V4I_DEVICE uint32_t ballot(bool vote V4I_PLACE) {
#if V4I_EMULATED
  return emulate::ballot(vote, place);
#else
  return __ballot_sync(0xffffffffu, vote);
#endif
}

// Orders the lanes' accesses to memory.  Shuffles, votes and mma do not.
V4I_DEVICE void warp_barrier(V4I_ONLY_PLACE) {
#if V4I_EMULATED
  emulate::warp_barrier(place);
#else
  __syncwarp();
#endif
}

// A barrier of `threads` threads of the block (whole warps); id 1..15.
V4I_DEVICE void named_barrier(int id, int threads V4I_PLACE) {
#if V4I_EMULATED
  emulate::named_barrier(id, threads, place);
#else
  asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// ---- arithmetic

// 1 / x for x that is neither tiny nor huge, to an ulp.  Without the branch of the division, so
// that four of them overlap: twenty iterations are the longest chain of v4i_streams_collapse.
V4I_DEVICE float reciprocal(float x) {
#if V4I_EMULATED
  return 1.0f / x;
#else
  const float r = __fdividef(1.0f, x);
  return fmaf(r, fmaf(-x, r, 1.0f), r);
#endif
}

}  // namespace v4i::kernels::cuda
