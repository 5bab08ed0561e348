// What every kernel is written with: the same source for nvcc and, in tests, for the host's
// compiler (tests/cuda/emulate/emulate.h is then included before it, with CUDA's spelling).
//
// A kernel takes one struct by value, declared in the family's header next to the function that
// says how to launch it.  It uses threadIdx, blockIdx, blockDim, gridDim, __syncthreads(), atomics
// in CUDA's spelling; what needs PTX is in ptx.cuh.  All shared memory is dynamic: shared_memory().
#pragma once

#include <stdint.h>

#if defined(V4I_EMULATED)
// V4I_KERNEL, shared_memory() and the rest come from emulate.h.
#else
#define V4I_DEVICE __device__ __forceinline__
#define V4I_KERNEL(name, Args, threads, blocks_per_multiprocessor)                 \
  extern "C" __global__ void __launch_bounds__(threads, blocks_per_multiprocessor) \
      name(const __grid_constant__ Args a)
// A device function that is a barrier (a shuffle, a vote, mma) takes its caller's place as the last
// parameter where kernels are emulated; here it takes nothing.
#define V4I_PLACE
#define V4I_ONLY_PLACE

namespace v4i::kernels::cuda {

// The block's shared memory, aligned to 128 bytes; its size is given at launch.
V4I_DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(128) unsigned char v4i_shared[];
  return v4i_shared;
}

}  // namespace v4i::kernels::cuda
#endif
