// Kernels of router.h.
#include "kernels/cuda/found.cuh"
#include "kernels/cuda/group.cuh"
#include "kernels/cuda/route.cuh"
#include "kernels/cuda/router.h"

namespace v4i::kernels::cuda {

V4I_KERNEL(v4i_route, RouteArgs, kRouteMostThreads, 1) {
  route_tokens(a, static_cast<int>(blockIdx.x), 1);
}

V4I_KERNEL(v4i_group, RouteArgs, kRouteMostThreads, 1) { group_tokens(a); }

V4I_KERNEL(v4i_route_few, RouteArgs, kRouteMostThreads, 1) {
  route_tokens(a, 0, a.n);
  __syncthreads();  // shared memory is used again, and the choice is read
  group_tokens(a);
}

namespace {

template <bool kWhole>
V4I_DEVICE void combine(const CombineArgs& a) {
  const int64_t t = blockIdx.x;
  const int at = static_cast<int>(blockIdx.y) * kRowChannels + 4 * static_cast<int>(threadIdx.x);
  if (at < a.width)
    store4<kWhole>(a.out + t * a.width, at, a.width,
                   found4<kWhole>(a.found, t, at, a.width, a.native != 0));
}

}  // namespace

V4I_KERNEL(v4i_combine, CombineArgs, kRowThreads, 4) {
  if (a.width % 4 == 0)
    combine<true>(a);
  else
    combine<false>(a);
}

}  // namespace v4i::kernels::cuda
