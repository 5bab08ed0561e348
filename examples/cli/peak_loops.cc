// The loops behind Peaks; see peak_loops.h.  Each is compiled for its own instruction
// set by attribute and only called where cpuid has it.
#include "peak_loops.h"

#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define V4I_CLI_X86 1
#endif

namespace cli {
namespace {

// ---- plain C++: what the compiler makes of it
constexpr std::size_t kStreams = 2;  // read side by side; 1 to 8 made no difference here

std::uint64_t read_plain(const std::byte* data, std::size_t bytes) {
  std::uint64_t lanes[8] = {};
  for (std::size_t i = 0; i + 64 <= bytes; i += 64)
    for (std::size_t k = 0; k < 8; ++k) {
      std::uint64_t word;
      std::memcpy(&word, data + i + 8 * k, 8);
      lanes[k] += word;
    }
  std::uint64_t sum = 0;
  for (std::uint64_t lane : lanes) sum += lane;
  return sum;
}

volatile float g_sink;  // so that no loop is found useless

double flops_plain(std::int64_t rounds) {
  constexpr int kLanes = 64;
  float acc[kLanes], x = 0.999f + g_sink * 0, y = 0.001f;
  for (int l = 0; l < kLanes; ++l) acc[l] = static_cast<float>(l);
  for (std::int64_t r = 0; r < rounds; ++r)
    for (int l = 0; l < kLanes; ++l) acc[l] = acc[l] * x + y;
  for (float a : acc) g_sink = g_sink + a;
  return 2.0 * kLanes * static_cast<double>(rounds);
}

#ifdef V4I_CLI_X86

__attribute__((target("avx512f"))) std::uint64_t read_avx512(const std::byte* data,
                                                             std::size_t bytes) {
  const std::size_t stride = bytes / kStreams / 256 * 256;
  __m512i sum[kStreams] = {};
  for (std::size_t i = 0; i < stride; i += 256)
    for (std::size_t s = 0; s < kStreams; ++s) {
      const std::byte* p = data + s * stride + i;
      for (int k = 0; k < 4; ++k) sum[s] = _mm512_xor_si512(sum[s], _mm512_loadu_si512(p + 64 * k));
    }
  for (std::size_t s = 1; s < kStreams; ++s) sum[0] = _mm512_xor_si512(sum[0], sum[s]);
  std::uint64_t words[8];
  _mm512_storeu_si512(words, sum[0]);
  std::uint64_t out = 0;
  for (std::uint64_t w : words) out ^= w;
  return out;
}

__attribute__((target("avx2"))) std::uint64_t read_avx2(const std::byte* data, std::size_t bytes) {
  const std::size_t stride = bytes / kStreams / 256 * 256;
  __m256i sum[kStreams] = {};
  for (std::size_t i = 0; i < stride; i += 256)
    for (std::size_t s = 0; s < kStreams; ++s) {
      const std::byte* p = data + s * stride + i;
      for (int k = 0; k < 8; ++k)
        sum[s] = _mm256_xor_si256(sum[s],
                                  _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * k)));
    }
  for (std::size_t s = 1; s < kStreams; ++s) sum[0] = _mm256_xor_si256(sum[0], sum[s]);
  std::uint64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), sum[0]);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

// 16 chains hide the latency of the dot product (5 or 6 cycles, at most 2 a cycle).
constexpr int kChains = 16;

__attribute__((target("avx512f,avx512bf16"))) double flops_bf16(std::int64_t rounds) {
  __m512 acc[kChains];
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  __m512i bits = _mm512_set1_epi32(0x3a803a80);  // 2^-10 twice
  __m512bh x, y;
  std::memcpy(&x, &bits, sizeof x);
  y = x;
  for (std::int64_t r = 0; r < rounds; ++r)
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_dpbf16_ps(acc[c], x, y);
  for (int c = 1; c < kChains; ++c) acc[0] = _mm512_add_ps(acc[0], acc[c]);
  g_sink = g_sink + _mm512_cvtss_f32(acc[0]);
  return 64.0 * kChains * static_cast<double>(rounds);  // 16 lanes of 2 products
}

__attribute__((target("avx512f"))) double flops_avx512(std::int64_t rounds) {
  __m512 acc[kChains];
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  const __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  for (std::int64_t r = 0; r < rounds; ++r)
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_fmadd_ps(acc[c], x, y);
  for (int c = 1; c < kChains; ++c) acc[0] = _mm512_add_ps(acc[0], acc[c]);
  g_sink = g_sink + _mm512_cvtss_f32(acc[0]);
  return 32.0 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx2,fma"))) double flops_avx2(std::int64_t rounds) {
  constexpr int kFew = 12;  // of 16 registers
  __m256 acc[kFew];
  for (int c = 0; c < kFew; ++c) acc[c] = _mm256_set1_ps(static_cast<float>(c));
  const __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  for (std::int64_t r = 0; r < rounds; ++r)
    for (int c = 0; c < kFew; ++c) acc[c] = _mm256_fmadd_ps(acc[c], x, y);
  for (int c = 1; c < kFew; ++c) acc[0] = _mm256_add_ps(acc[0], acc[c]);
  g_sink = g_sink + _mm256_cvtss_f32(acc[0]);
  return 16.0 * kFew * static_cast<double>(rounds);
}

#endif

}  // namespace

PeakLoops peak_loops() {
#ifdef V4I_CLI_X86
  if (__builtin_cpu_supports("avx512bf16"))
    return {read_avx512, flops_bf16, "bf16 dot, avx512_bf16"};
  if (__builtin_cpu_supports("avx512f")) return {read_avx512, flops_avx512, "float32 fma, avx512f"};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {read_avx2, flops_avx2, "float32 fma, avx2"};
#endif
  return {read_plain, flops_plain, "float32, as compiled"};
}

}  // namespace cli
