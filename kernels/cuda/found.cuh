// Adds up what the experts found; see found.h.
#pragma once

#include "kernels/cuda/found.h"
#include "kernels/cuda/vector.cuh"

namespace v4i::kernels::cuda {

// Channels at to at + 3 of token t.
template <bool kWhole>
V4I_DEVICE float4 found4(const Found& f, int64_t t, int at, int width, bool native) {
  constexpr int kAtOnce = 8;  // rows whose loads are issued together
  float4 sum = all4(0.0f);
  for (int first = 0; first < f.choices; first += kAtOnce) {
    int slot[kAtOnce];
    float4 row[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      slot[i] = first + i < f.choices ? f.token_slot[t * f.choices + first + i] : -1;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      row[i] = slot[i] < 0
                   ? all4(0.0f)
                   : load4<kWhole>(f.found + static_cast<int64_t>(slot[i]) * width, at, width);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      if (slot[i] >= 0) sum = add4(sum, row[i]);
  }
  if (f.more != nullptr) sum = add4(sum, load4<kWhole>(f.more + t * width, at, width));
  if (f.shared != nullptr) sum = add4(sum, load4<kWhole>(f.shared + t * width, at, width));
  return rounded4(sum, native);
}

}  // namespace v4i::kernels::cuda
