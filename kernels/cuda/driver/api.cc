// The table of plugin.h, and the one symbol of libv4infer-cuda.so.
#include "kernels/cuda/driver/device.h"

#if defined(_WIN32)
#define V4I_CUDA_EXPORT __declspec(dllexport)
#else
#define V4I_CUDA_EXPORT __attribute__((visibility("default")))
#endif

extern "C" V4I_CUDA_EXPORT const v4i_cuda_api* v4i_cuda_plugin(void) {
  namespace driver = v4i::kernels::cuda::driver;
  static constexpr v4i_cuda_api kApi = {sizeof(v4i_cuda_api),   V4I_CUDA_BUILD_ID,
                                        driver::said,           driver::count,
                                        driver::open,           driver::close,
                                        driver::info,           driver::allocate,
                                        driver::release,        driver::allocate_pinned,
                                        driver::release_pinned, driver::make_stream,
                                        driver::drop_stream,    driver::wait_stream,
                                        driver::make_event,     driver::drop_event,
                                        driver::record,         driver::follow,
                                        driver::wait_event,     driver::event_ms,
                                        driver::copy,           driver::fill,
                                        driver::find_kernel,    driver::launch,
                                        driver::begin_capture,  driver::end_capture,
                                        driver::launch_graph,   driver::drop_graph};
  return &kApi;
}
