// A plug-in whose table has another size.
#include "kernels/cuda/plugin.h"

extern "C" __attribute__((visibility("default"))) const v4i_cuda_api* v4i_cuda_plugin(void) {
  static const v4i_cuda_api api = [] {
    v4i_cuda_api short_one{};
    short_one.bytes = 64;
    return short_one;
  }();
  return &api;
}
