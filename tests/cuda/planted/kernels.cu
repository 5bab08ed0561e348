// Small kernels, each right unless `fault` says otherwise; see kernels.h.
#include "kernels/cuda/ptx.cuh"
#include "tests/cuda/planted/kernels.h"

namespace v4i::kernels::cuda {

V4I_KERNEL(v4i_planted_sum, SumArgs, 256, 1) {
  float* part = reinterpret_cast<float*>(shared_memory());
  const int i = static_cast<int>(blockIdx.x * 256 + threadIdx.x);
  const float v = warp_sum(i < a.count ? a.in[i] : 0.0f);
  if (lane() == 0 && !(a.fault == kNotWritten && warp() == 5)) part[warp()] = v;
  if (a.fault == kSharedBehind && threadIdx.x == 255) part[9] = 0;
  if (a.fault == kSharedRace && lane() == 0) part[8] = 1;
  if (a.fault == kWarpEnds && warp() == 7) return;
  if (a.fault == kDivergentBarrier && warp() == 3)
    __syncthreads();
  else if (a.fault == kMissingThread && warp() == 3)
    named_barrier(1, 64);
  else if (a.fault != kNoBarrier)
    __syncthreads();
  if (a.fault == kDivergentShuffle) {
    if (lane() < 16)
      warp_barrier();
    else
      shuffle(v, 0);
  }
  if (threadIdx.x != 0) return;
  float sum = 0;
  for (int w = 0; w < 8; ++w) sum += part[w];
  a.out[blockIdx.x + (a.fault == kStoreBehind)] = sum;
  if (a.fault == kBlocksRace) a.out[0] = 0;
  if (a.fault == kBlocksReadRace && blockIdx.x == 1) a.out[1] += a.out[0];
}

V4I_KERNEL(v4i_planted_transpose, TransposeArgs, 256, 1) {
  float* tile = reinterpret_cast<float*>(shared_memory());
  const int r0 = static_cast<int>(blockIdx.y * 32), c0 = static_cast<int>(blockIdx.x * 32);
  for (int r = warp(); r < 32; r += 8)
    if (r0 + r < a.rows && c0 + lane() < a.cols)
      tile[r * 33 + lane()] = a.in[(r0 + r) * a.cols + c0 + lane()];
  if (a.fault != kNoBarrier) __syncthreads();
  for (int c = warp(); c < 32; c += 8)
    if (r0 + lane() < a.rows && c0 + c < a.cols)
      a.out[(c0 + c) * a.rows + r0 + lane()] = tile[lane() * 33 + c];
}

V4I_KERNEL(v4i_planted_histogram, HistogramArgs, 128, 1) {
  int32_t* counts = reinterpret_cast<int32_t*>(shared_memory());
  if (threadIdx.x < 16 && a.fault != kNotWritten) counts[threadIdx.x] = 0;
  __syncthreads();
  for (int i = 0; i < 4; ++i) {
    const int at = static_cast<int>(blockIdx.x * 512 + i * 128 + threadIdx.x);
    if (at >= a.count) break;
    if (a.fault == kSharedRace)
      counts[a.in[at]] += 1;
    else
      atomic_add(&counts[a.in[at]], 1);
  }
  if (a.fault != kNoBarrier) __syncthreads();
  if (threadIdx.x >= 16) return;
  if (a.fault == kBlocksRace)
    a.counts[threadIdx.x] += counts[threadIdx.x];
  else
    atomic_add(&a.counts[threadIdx.x], counts[threadIdx.x]);
}

V4I_KERNEL(v4i_planted_tile, TileArgs, 32, 1) {
  unsigned char* rows = shared_memory();  // a, then b
  const int misaligned = a.fault == kMisaligned ? 8 : 0;
  copy16_async(rows + lane() * 16, reinterpret_cast<const unsigned char*>(a.a) + lane() * 16);
  if (lane() < 16)
    copy16_async(rows + 512 + lane() * 16,
                 reinterpret_cast<const unsigned char*>(a.b) + lane() * 16 - misaligned);
  copy_commit();
  if (a.fault != kNoCopyWait) copy_wait<0>();
  if (a.fault != kNoWarpBarrier) warp_barrier();
  uint32_t x[4], w[2];
  load_matrices(x, rows + lane() % 16 * 32 + lane() / 16 * 16);
  const uint32_t* b = reinterpret_cast<const uint32_t*>(rows + 512) + lane() / 4 * 8;
  w[0] = b[lane() % 4];
  w[1] = b[lane() % 4 + 4];
  float d[4] = {0, 0, 0, 0};
  mma_bf16(d, x, w);
  const int at = lane() / 4 * 8 + lane() % 4 * 2;
  const int second = a.fault == kWrongFragment ? 64 - 8 : 64;
  a.d[at] = d[0];
  a.d[at + 1] = d[1];
  a.d[at + second] = d[2];
  a.d[at + second + 1] = d[3];
}

}  // namespace v4i::kernels::cuda
