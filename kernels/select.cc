// Which kernel tables run on this processor, best first; see kernels.h.
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernels/cpu/tables.h"

namespace v4i::kernels {

const KernelTable kScalarKernels = {"scalar",
                                    scalar::linear,
                                    scalar::attention,
                                    scalar::index_scores,
                                    scalar::query_heads,
                                    scalar::output_heads,
                                    scalar::index_heads,
                                    scalar::store_row,
                                    scalar::pool};

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

constexpr KernelTable kAvx512Bf16 = {
    "avx512bf16",        avx512bf16::linear,   avx512bf16::attention, avx512bf16::index_scores,
    avx512::query_heads, avx512::output_heads, avx512::index_heads,   avx512::store_row,
    avx512::pool};
constexpr KernelTable kAvx512 = {"avx512",
                                 avx512::linear,
                                 avx512::attention,
                                 avx512::index_scores,
                                 avx512::query_heads,
                                 avx512::output_heads,
                                 avx512::index_heads,
                                 avx512::store_row,
                                 avx512::pool};
constexpr KernelTable kAvx2 = {"avx2",
                               avx2::linear,
                               avx2::attention,
                               avx2::index_scores,
                               avx2::query_heads,
                               avx2::output_heads,
                               avx2::index_heads,
                               avx2::store_row,
                               avx2::pool};
#elif defined(__aarch64__)
constexpr KernelTable kNeon = {"neon",
                               neon::linear,
                               neon::attention,
                               neon::index_scores,
                               neon::query_heads,
                               neon::output_heads,
                               neon::index_heads,
                               neon::store_row,
                               neon::pool};
#endif

constexpr Candidate kBestFirst[] = {
#if defined(__x86_64__)
    {&kAvx512Bf16, has_avx512bf16},
    {&kAvx512, has_avx512},
    {&kAvx2, has_avx2},
#elif defined(__aarch64__)
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
