// Included in front of a .cu file that the host's compiler compiles: CUDA's spelling of what
// kernels use.  What is missing here is not used in this project, or should be added.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <cstring>

#include "tests/cuda/emulate/core.h"
#include "tests/cuda/emulate/vectors.h"

#define V4I_DEVICE inline __attribute__((always_inline))
#define V4I_EVERYWHERE
// The last parameter of a device function that is a barrier: where it was called.
#define V4I_PLACE , ::v4i::emulate::Place place = ::v4i::emulate::Place::here()
#define V4I_ONLY_PLACE ::v4i::emulate::Place place = ::v4i::emulate::Place::here()

#define V4I_KERNEL(name, Args, threads, blocks_per_multiprocessor)                           \
  static void v4i_body_of_##name(const Args& a);                                             \
  static const ::v4i::emulate::Registration v4i_registration_of_##name(                      \
      {#name, [](const void* args) { v4i_body_of_##name(*static_cast<const Args*>(args)); }, \
       sizeof(Args), (threads)});                                                            \
  static void v4i_body_of_##name(const Args& a)

#if defined(__SANITIZE_THREAD__)
#define threadIdx (::v4i::emulate::thread_index())
#define blockIdx (::v4i::emulate::block_index())
#define blockDim (::v4i::emulate::block_size())
#define gridDim (::v4i::emulate::grid_size())
#define V4I_SHARED_MEMORY ::v4i::emulate::block_memory()
#else
#define threadIdx (::v4i::emulate::self->index)
#define blockIdx (::v4i::emulate::self->grid->block)
#define blockDim (::v4i::emulate::self->grid->threads)
#define gridDim (::v4i::emulate::self->grid->blocks)
#define V4I_SHARED_MEMORY ::v4i::emulate::self->grid->shared
#endif

namespace v4i::kernels::cuda {

V4I_DEVICE unsigned char* shared_memory() { return V4I_SHARED_MEMORY; }

}  // namespace v4i::kernels::cuda

#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) alignas(n)

#define __syncthreads() ::v4i::emulate::block_barrier(::v4i::emulate::Place::here())
#define __syncthreads_count(p) ::v4i::emulate::block_count((p) != 0, ::v4i::emulate::Place::here())
#define __syncthreads_or(p) (__syncthreads_count(p) != 0)
#define __syncwarp() ::v4i::emulate::warp_barrier(::v4i::emulate::Place::here())

#include "tests/cuda/emulate/functions.h"
