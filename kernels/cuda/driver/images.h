// The compiled kernels inside this library: one fat binary per kernels/cuda/*.cu.  The build writes
// their table (lib/cmake/cuda.cmake).
#pragma once

namespace v4i::kernels::cuda::driver {

struct Image {
  const char* name;  // "linear"
  const void* data;
};

extern const Image kImages[];
extern const int kImageCount;
extern const int kTargets[];  // compute capabilities with code in each image: 80, 86, ...
extern const int kTargetCount;

}  // namespace v4i::kernels::cuda::driver
