// Memory of the device and pinned memory of the host; see plugin.h.
#include "kernels/cuda/driver/device.h"

namespace v4i::kernels::cuda::driver {
namespace {

Address address(const void* p) { return static_cast<Address>(reinterpret_cast<std::uintptr_t>(p)); }
void* pointer(Address p) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(p)); }

int not_remembered() {
  say("no memory of the host to remember an allocation");
  return V4I_CUDA_NO_MEMORY;
}

}  // namespace

int allocate(v4i_cuda_device* d, std::size_t bytes, void** out) {
  *out = nullptr;
  const Current current(*d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK || bytes == 0) return current.code();
  Address p = 0;
  const int code = answer(*d, d->f.cuMemAlloc_v2(&p, bytes), "allocating %zu bytes", bytes);
  if (code != V4I_CUDA_OK) return code;
  if (!d->memory.add(pointer(p))) {
    note(*d, d->f.cuMemFree_v2(p), "releasing memory");
    return not_remembered();
  }
  *out = pointer(p);
  return V4I_CUDA_OK;
}

void free_memory(v4i_cuda_device& d, void* p) {
  const Current current(d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK) return;
  note(d, d.f.cuMemFree_v2(address(p)), "releasing memory");
}

void release(v4i_cuda_device* d, void* p) {
  if (p != nullptr && d->memory.remove(p)) free_memory(*d, p);
}

int allocate_pinned(v4i_cuda_device* d, std::size_t bytes, void** host, void** on_device) {
  *host = *on_device = nullptr;
  const Current current(*d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK || bytes == 0) return current.code();
  void* p = nullptr;
  int code = answer(*d, d->f.cuMemHostAlloc(&p, bytes, kHostAllocPortable | kHostAllocDeviceMap),
                    "allocating %zu bytes of pinned memory", bytes);
  if (code != V4I_CUDA_OK) return code;
  Address mapped = 0;
  code = answer(*d, d->f.cuMemHostGetDevicePointer_v2(&mapped, p, 0), "mapping pinned memory");
  if (code == V4I_CUDA_OK && !d->pinned.add(p)) code = not_remembered();
  if (code != V4I_CUDA_OK) {
    if (code != V4I_CUDA_LOST) note(*d, d->f.cuMemFreeHost(p), "releasing pinned memory");
    return code;
  }
  *host = p;
  *on_device = pointer(mapped);
  return V4I_CUDA_OK;
}

void free_pinned(v4i_cuda_device& d, void* host) {
  const Current current(d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK) return;
  note(d, d.f.cuMemFreeHost(host), "releasing pinned memory");
}

void release_pinned(v4i_cuda_device* d, void* host) {
  if (host != nullptr && d->pinned.remove(host)) free_pinned(*d, host);
}

int copy(v4i_cuda_stream* s, void* to, const void* from, std::size_t bytes, int direction) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK || bytes == 0) return current.code();
  switch (direction) {
    case V4I_CUDA_TO_DEVICE:
      return answer(d, d.f.cuMemcpyHtoDAsync_v2(address(to), from, bytes, s->stream),
                    "copying %zu bytes to the device", bytes);
    case V4I_CUDA_TO_HOST:
      return answer(d, d.f.cuMemcpyDtoHAsync_v2(to, address(from), bytes, s->stream),
                    "copying %zu bytes to the host", bytes);
    case V4I_CUDA_WITHIN:
      return answer(d, d.f.cuMemcpyDtoDAsync_v2(address(to), address(from), bytes, s->stream),
                    "copying %zu bytes within the device", bytes);
    default:
      say("a copy in direction %d", direction);
      return V4I_CUDA_FAILED;
  }
}

int fill(v4i_cuda_stream* s, void* to, int byte, std::size_t bytes) {
  v4i_cuda_device& d = *s->device;
  const Current current(d);
  if (current.code() != V4I_CUDA_OK || bytes == 0) return current.code();
  return answer(
      d, d.f.cuMemsetD8Async(address(to), static_cast<unsigned char>(byte), bytes, s->stream),
      "filling %zu bytes", bytes);
}

}  // namespace v4i::kernels::cuda::driver
