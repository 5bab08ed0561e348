// Which kernel tables run on this processor, best first; see kernels.h.
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "kernels/cpu/tables.h"

namespace v4i::kernels {

// `nan`: nan_codes; `rows`: the instruction set whose row operations it has.
// clang-format off
#define V4I_TABLE(isa, nan, rows, int8)                                    \
  {#isa, isa::linear, int8, isa::attention, rows::dense_attention, isa::index_scores,        \
   rows::query_heads, rows::output_heads, rows::index_heads, rows::store_row, rows::pool, \
   rows::quantise, rows::swiglu, rows::collapse, rows::mix_back, nan, nullptr, nullptr}
// clang-format on

const KernelTable kScalarKernels = V4I_TABLE(scalar, true, scalar, scalar::linear_int8);

namespace {

struct Candidate {
  const KernelTable* table;
  bool (*runs_here)();
};

bool always() { return true; }

#if defined(__x86_64__)
bool has_f16c() {  // clang 14 does not know the name
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_avx512bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
}

constexpr KernelTable avx512bf16_table() {
  KernelTable t = V4I_TABLE(avx512bf16, true, avx512, avx512bf16::linear_int8);
  t.prepare = avx512bf16::prepare;
  t.prepare_int8 = avx512bf16::prepare_int8;
  return t;
}
constexpr KernelTable kAvx512Bf16 = avx512bf16_table();
constexpr KernelTable kAvx512 = V4I_TABLE(avx512, false, avx512, nullptr);
constexpr KernelTable kAvx2 = V4I_TABLE(avx2, false, avx2, nullptr);
#elif defined(__aarch64__)
bool has_neonbf16() {
#if defined(__linux__)
  constexpr unsigned long kBf16 = 1ul << 14;  // HWCAP2_BF16, which older headers lack
  return (getauxval(AT_HWCAP2) & kBf16) != 0;
#else
  return false;
#endif
}

constexpr KernelTable kNeonBf16 = {"neonbf16",
                                   neonbf16::linear,
                                   nullptr,
                                   neon::attention,
                                   neon::dense_attention,
                                   neon::index_scores,
                                   neon::query_heads,
                                   neon::output_heads,
                                   neon::index_heads,
                                   neon::store_row,
                                   neon::pool,
                                   neon::quantise,
                                   neon::swiglu,
                                   neon::collapse,
                                   neon::mix_back,
                                   false,
                                   nullptr,
                                   nullptr};
constexpr KernelTable kNeon = V4I_TABLE(neon, false, neon, nullptr);
#endif

constexpr Candidate kBestFirst[] = {
#if defined(__x86_64__)
    {&kAvx512Bf16, has_avx512bf16},
    {&kAvx512, has_avx512},
    {&kAvx2, has_avx2},
#elif defined(__aarch64__)
    {&kNeonBf16, has_neonbf16},
    {&kNeon, always},
#endif
    {&kScalarKernels, always},
};

}  // namespace

const KernelTable* select_kernels(const char* forced) {
  for (const Candidate& c : kBestFirst) {
    if (forced != nullptr && *forced != '\0' && std::strcmp(forced, c.table->name) != 0) continue;
    if (c.runs_here()) return c.table;
  }
  return nullptr;
}

int available_kernels(const KernelTable** out, int cap) {
  int n = 0;
  for (const Candidate& c : kBestFirst) {
    if (!c.runs_here()) continue;
    if (n < cap) out[n] = c.table;
    ++n;
  }
  return n;
}

}  // namespace v4i::kernels
