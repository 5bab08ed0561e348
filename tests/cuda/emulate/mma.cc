// mma.sync.m16n8k16 of bfloat16: every lane brings its fragments to the warp's tile, the one that
// arrives last multiplies.
//
// A product of two bfloat16 is exact in float32, so that neither contraction nor the width of a
// vector changes a bit: the sums run over rising k, from d.
#include <cstring>

#include "tests/cuda/emulate/machine.h"

namespace v4i::emulate {
namespace {

float low(std::uint32_t pair) {
  pair <<= 16;
  float f;
  std::memcpy(&f, &pair, sizeof f);
  return f;
}

float high(std::uint32_t pair) {
  pair &= 0xffff0000u;
  float f;
  std::memcpy(&f, &pair, sizeof f);
  return f;
}

using Row = float __attribute__((vector_size(32)));

__attribute__((always_inline)) inline void multiply(Tile& t) {
  Row b[16];
  for (unsigned k = 0; k < 16; ++k) std::memcpy(&b[k], t.b[k], sizeof(Row));
  for (unsigned r = 0; r < 16; r += 8) {
    Row sum[8];
    for (unsigned i = 0; i < 8; ++i) std::memcpy(&sum[i], t.d[r + i], sizeof(Row));
    for (unsigned k = 0; k < 16; ++k)
      for (unsigned i = 0; i < 8; ++i) sum[i] += t.a[r + i][k] * b[k];
    for (unsigned i = 0; i < 8; ++i) std::memcpy(t.d[r + i], &sum[i], sizeof(Row));
  }
}

void multiply_anywhere(Tile& t) { multiply(t); }

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void multiply_avx2(Tile& t) { multiply(t); }
const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif

void complete_mma(void* const* mine, std::uint32_t lanes) {
  if (lanes != ~0u) fail("mma in a warp some lanes of which have ended");
  Tile& t = *static_cast<Tile*>(mine[0]);
#if defined(__x86_64__)
  if (has_avx2) return multiply_avx2(t);
#endif
  multiply_anywhere(t);
}

}  // namespace

// As PTX lays the fragments out: lane = 4 g + k / 2.
void mma_bf16(float* d, const std::uint32_t* a, const std::uint32_t* b, Place place) {
  Machine& m = Machine::mine();
  Tile& tile = m.tile();
  const unsigned lane = self->number % kWarp, g = lane / 4, k = lane % 4 * 2;
  for (unsigned i = 0; i < 4; ++i) {
    float* to = &tile.a[g + i % 2 * 8][k + i / 2 * 8];
    to[0] = low(a[i]);
    to[1] = high(a[i]);
  }
  for (unsigned i = 0; i < 2; ++i) {
    tile.b[k + i * 8][g] = low(b[i]);
    tile.b[k + i * 8 + 1][g] = high(b[i]);
  }
  std::memcpy(&tile.d[g][k], d, 8);
  std::memcpy(&tile.d[g + 8][k], d + 2, 8);
  m.meet(complete_mma, &tile, "mma", place);
  std::memcpy(d, &tile.d[g][k], 8);
  std::memcpy(d + 2, &tile.d[g + 8][k], 8);
}

}  // namespace v4i::emulate
