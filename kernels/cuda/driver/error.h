// What v4i_cuda_api::error() says, and what the driver's results mean for a caller.
#pragma once

#include "kernels/cuda/driver/functions.h"

#if defined(__MINGW32__) && !defined(__clang__)
#define V4I_CUDA_FORMAT(text, first) __attribute__((format(gnu_printf, text, first)))
#elif defined(__GNUC__)
#define V4I_CUDA_FORMAT(text, first) __attribute__((format(printf, text, first)))
#else
#define V4I_CUDA_FORMAT(text, first)
#endif

struct v4i_cuda_device;

namespace v4i::kernels::cuda::driver {

// The sentence for the calling thread; a longer one is cut.
void say(const char* format, ...) V4I_CUDA_FORMAT(1, 2);
const char* said();

// "out of memory (CUDA_ERROR_OUT_OF_MEMORY)"
struct Reason {
  Reason(const Functions& f, Result r);
  char text[192];
};

// After such a result every call on the context answers the same.
bool is_fatal(Result r);

// The code of the table for a result; says `device 0 (NAME): DOING: REASON` unless it is a success.
// A fatal one marks the device as lost.
int answer(v4i_cuda_device& d, Result r, const char* doing, ...) V4I_CUDA_FORMAT(3, 4);

// For calls that give something back: only marks the device as lost, if the result is fatal.
void note(v4i_cuda_device& d, Result r, const char* doing);

}  // namespace v4i::kernels::cuda::driver
