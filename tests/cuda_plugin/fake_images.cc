// Images as the fake driver reads them.
#include "kernels/cuda/driver/images.h"

namespace v4i::kernels::cuda::driver {

const Image kImages[] = {{"first", "v4i_test_add 24\n"}, {"second", "v4i_test_other 4\n"}};
const int kImageCount = 2;
const int kTargets[] = {80, 86, 90, 100, 120};
const int kTargetCount = 5;

}  // namespace v4i::kernels::cuda::driver
