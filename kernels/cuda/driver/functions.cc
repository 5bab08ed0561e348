// Opens the CUDA driver; see functions.h.
#include "kernels/cuda/driver/functions.h"

#include <mutex>

#include "kernels/cuda/driver/error.h"
#include "lib/base/shared_object.h"

#if !defined(V4I_CUDA_DRIVER)  // tests name another one
#if defined(_WIN32)
#define V4I_CUDA_DRIVER "nvcuda.dll"
#else
#define V4I_CUDA_DRIVER "libcuda.so.1"
#endif
#endif

namespace v4i::kernels::cuda::driver {
namespace {

constexpr int kOldestDriver = 13000;  // runs the code of every toolkit 13

// Returns false, having said why, where the driver or one of its functions is missing.
bool load(Functions* f) {
  char why[256];
  void* handle = open_shared(V4I_CUDA_DRIVER, why, sizeof(why));
  if (handle == nullptr) {
    say("no NVIDIA driver: " V4I_CUDA_DRIVER " cannot be opened (%s)", why);
    return false;
  }
  const char* missing = nullptr;
#define V4I_CUDA_FIND(name, parameters)                                      \
  f->name = reinterpret_cast<decltype(f->name)>(find_symbol(handle, #name)); \
  if (f->name == nullptr) missing = #name;
  V4I_CUDA_FUNCTIONS(V4I_CUDA_FIND)
#undef V4I_CUDA_FIND
  if (missing == nullptr) return true;
  say("the NVIDIA driver is too old: it lacks %s; CUDA 13.0 or later is needed", missing);
  close_shared(handle);
  return false;
}

bool start(const Functions& f) {
  if (const Result r = f.cuInit(0); r != kSuccess) {
    if (r == kNoDevice)
      say("the NVIDIA driver sees no device");
    else if (r == kStubLibrary)
      say(V4I_CUDA_DRIVER " is the toolkit's stub, not the NVIDIA driver");
    else
      say("the NVIDIA driver does not start: %s", Reason(f, r).text);
    return false;
  }
  int version = 0;
  if (f.cuDriverGetVersion(&version) != kSuccess || version < kOldestDriver) {
    say("the NVIDIA driver is too old: it is for CUDA %d.%d, and %d.%d or later is needed",
        version / 1000, version % 1000 / 10, kOldestDriver / 1000, kOldestDriver % 1000 / 10);
    return false;
  }
  return true;
}

}  // namespace

const Functions* functions() {
  static std::mutex mutex;
  static Functions loaded;
  static bool there = false;
  const std::lock_guard lock(mutex);
  if (!there) there = load(&loaded);  // a driver may be installed while we run
  return there && start(loaded) ? &loaded : nullptr;
}

}  // namespace v4i::kernels::cuda::driver
