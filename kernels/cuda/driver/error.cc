// Sentences and codes; see error.h.
#include "kernels/cuda/driver/error.h"

#include <cstdarg>
#include <cstdio>

#include "kernels/cuda/driver/device.h"

namespace v4i::kernels::cuda::driver {
namespace {

thread_local char sentence[1024];

}  // namespace

void say(const char* format, ...) {
  std::va_list list;
  va_start(list, format);
  std::vsnprintf(sentence, sizeof(sentence), format, list);
  va_end(list);
}

const char* said() { return sentence; }

Reason::Reason(const Functions& f, Result r) {
  const char *name = nullptr, *words = nullptr;
  if (f.cuGetErrorName(r, &name) != kSuccess || name == nullptr) name = "an unknown error";
  if (f.cuGetErrorString(r, &words) != kSuccess || words == nullptr) words = "error";
  std::snprintf(text, sizeof(text), "%s (%s, %d)", words, name, static_cast<int>(r));
}

bool is_fatal(Result r) {
  switch (static_cast<int>(r)) {
    case kDeinitialized:
    case kDeviceUnavailable:
    case kInvalidContext:
    case kEccUncorrectable:
    case kNvlinkUncorrectable:
    case kContained:
    case kIllegalAddress:
    case kLaunchTimeout:
    case kContextIsDestroyed:
    case kAssert:
    case kHardwareStackError:
    case kIllegalInstruction:
    case kMisalignedAddress:
    case kInvalidAddressSpace:
    case kInvalidPc:
    case kLaunchFailed:
    case kTensorMemoryLeak:
    case kMpsRpcFailure:
    case kMpsClientTerminated:
    case kExternalDevice:
    case kUnknown:
      return true;
    default:
      return false;
  }
}

int answer(v4i_cuda_device& d, Result r, const char* doing, ...) {
  if (r == kSuccess) return V4I_CUDA_OK;
  char what[256];
  std::va_list list;
  va_start(list, doing);
  std::vsnprintf(what, sizeof(what), doing, list);
  va_end(list);
  const Reason reason(d.f, r);
  say("device %d (%s): %s: %s", d.number, d.name, what, reason.text);
  if (r == kOutOfMemory) return V4I_CUDA_NO_MEMORY;
  if (!is_fatal(r)) return V4I_CUDA_FAILED;
  d.lose(what, reason.text);
  return V4I_CUDA_LOST;
}

void note(v4i_cuda_device& d, Result r, const char* doing) {
  if (is_fatal(r)) d.lose(doing, Reason(d.f, r).text);
}

}  // namespace v4i::kernels::cuda::driver
