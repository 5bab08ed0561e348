// Kernels by name, and their launches; see plugin.h.
#include <climits>
#include <cstdio>
#include <new>

#include "kernels/cuda/driver/device.h"
#include "kernels/cuda/driver/images.h"

namespace v4i::kernels::cuda::driver {
namespace {

// kNotFound where no image has it.
Result find(const v4i_cuda_device& d, const char* name, Function* out) {
  for (int i = 0; i < d.module_count; ++i) {
    const Result r = d.f.cuModuleGetFunction(out, d.modules[static_cast<std::size_t>(i)], name);
    if (r != kNotFound) return r;
  }
  return kNotFound;
}

// Sizes of its argument and of shared memory; allows it as much of that as the device has.
int prepare(v4i_cuda_device& d, v4i_cuda_kernel& k) {
  std::size_t offset = 0;
  const Result r = d.f.cuFuncGetParamInfo(k.function, 0, &offset, &k.args_bytes);
  if (r != kSuccess) return answer(d, r, "asking for the arguments of %s", k.name);
  int own = 0;
  int code = answer(d, d.f.cuFuncGetAttribute(&own, kFunctionSharedBytes, k.function),
                    "asking for the shared memory of %s", k.name);
  if (code != V4I_CUDA_OK) return code;
  const int most = static_cast<int>(d.info.shared) - own;
  code = answer(d, d.f.cuFuncSetAttribute(k.function, kFunctionMaxDynamicShared, most),
                "allowing %s %d bytes of shared memory", k.name, most);
  k.shared = most > 0 ? static_cast<std::size_t>(most) : 0;
  return code;
}

}  // namespace

int find_kernel(v4i_cuda_device* d, const char* name, v4i_cuda_kernel** out) {
  *out = nullptr;
  const Current current(*d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK) return current.code();
  v4i_cuda_kernel found{d, nullptr, 0, 0, ""};
  std::snprintf(found.name, sizeof(found.name), "%s", name);
  const Result r = find(*d, name, &found.function);
  if (r != kSuccess) return answer(*d, r, "looking for the kernel %s", name);
  if (const int code = prepare(*d, found); code != V4I_CUDA_OK) return code;
  auto* k = new (std::nothrow) v4i_cuda_kernel(found);
  if (k == nullptr || !d->kernels.add(k)) {
    delete k;
    say("no memory of the host for a kernel");
    return V4I_CUDA_NO_MEMORY;
  }
  *out = k;
  return V4I_CUDA_OK;
}

int launch(v4i_cuda_stream* s, v4i_cuda_kernel* k, const std::uint32_t blocks[3],
           std::uint32_t threads, std::size_t shared, const void* args, std::size_t args_bytes) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  if (args_bytes != k->args_bytes) {
    say("%s takes %zu bytes of arguments, not %zu", k->name, k->args_bytes, args_bytes);
    return V4I_CUDA_FAILED;
  }
  if (shared > k->shared) {
    say("device %d (%s): %s asks for %zu bytes of shared memory, and a block may have %zu",
        d.number, d.name, k->name, shared, k->shared);
    return V4I_CUDA_FAILED;
  }
  void* extra[] = {reinterpret_cast<void*>(kParamBufferPointer), const_cast<void*>(args),
                   reinterpret_cast<void*>(kParamBufferSize), &args_bytes,
                   reinterpret_cast<void*>(kParamEnd)};
  return answer(d,
                d.f.cuLaunchKernel(k->function, blocks[0], blocks[1], blocks[2], threads, 1, 1,
                                   static_cast<unsigned>(shared), s->stream, nullptr, extra),
                "launching %s on %ux%ux%u blocks of %u threads with %zu bytes of shared memory",
                k->name, blocks[0], blocks[1], blocks[2], threads, shared);
}

}  // namespace v4i::kernels::cuda::driver
