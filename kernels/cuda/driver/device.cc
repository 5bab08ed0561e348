// Opening and closing a device; see device.h.
#include "kernels/cuda/driver/device.h"

#include <cstdio>
#include <cstring>
#include <new>

#include "kernels/cuda/driver/images.h"

namespace v4i::kernels::cuda::driver {
namespace {

int no_host_memory() {
  say("no memory of the host for a handle");
  return V4I_CUDA_NO_MEMORY;
}

// The newest target whose code runs on a device of this capability; 0: none.
int choose_target(int major, int minor) {
  int best = 0;
  for (int i = 0; i < kTargetCount; ++i)
    if (kTargets[i] / 10 == major && kTargets[i] % 10 <= minor && kTargets[i] > best)
      best = kTargets[i];
  return best;
}

int say_no_target(const v4i_cuda_device& d) {
  char list[128] = "";
  std::size_t used = 0;
  for (int i = 0; i < kTargetCount && used < sizeof(list) - 8; ++i)
    used += static_cast<std::size_t>(std::snprintf(list + used, sizeof(list) - used, "%s%d.%d",
                                                   i == 0 ? "" : ", ", kTargets[i] / 10,
                                                   kTargets[i] % 10));
  const int capability = d.info.major * 10 + d.info.minor;
  const bool old = kTargetCount > 0 && capability < kTargets[0];
  say("device %d (%s) %s: its compute capability is %d.%d, and there is code for %s", d.number,
      d.name, old ? "is too old" : "is not supported", d.info.major, d.info.minor, list);
  return V4I_CUDA_ABSENT;
}

int check_number(const Functions& f, int number) {
  int devices = 0;
  if (const Result r = f.cuDeviceGetCount(&devices); r != kSuccess) {
    say("counting devices: %s", Reason(f, r).text);
    return V4I_CUDA_ABSENT;
  }
  if (number >= 0 && number < devices) return V4I_CUDA_OK;
  if (devices == 0)
    say("the NVIDIA driver sees no device");
  else if (devices == 1)
    say("there is no device %d; the one there is has number 0", number);
  else
    say("there is no device %d; they are numbered 0 to %d", number, devices - 1);
  return V4I_CUDA_ABSENT;
}

// Name, capability, sizes.
int describe(v4i_cuda_device& d) {
  const Functions& f = d.f;
  Result r = f.cuDeviceGet(&d.id, d.number);
  if (r == kSuccess) r = f.cuDeviceGetName(d.name, sizeof(d.name), d.id);
  const struct {
    int attribute;
    int* to;
  } wanted[] = {{kComputeCapabilityMajor, &d.info.major},
                {kComputeCapabilityMinor, &d.info.minor},
                {kMultiprocessorCount, &d.info.processors}};
  for (const auto& w : wanted)
    if (r == kSuccess) r = f.cuDeviceGetAttribute(w.to, w.attribute, d.id);
  int shared = 0;
  std::size_t memory = 0;
  if (r == kSuccess) r = f.cuDeviceGetAttribute(&shared, kMaxSharedPerBlockOptin, d.id);
  if (r == kSuccess) r = f.cuDeviceTotalMem_v2(&memory, d.id);
  if (r != kSuccess) return answer(d, r, "asking for its properties");
  d.name[sizeof(d.name) - 1] = '\0';
  std::memcpy(d.info.name, d.name, sizeof(d.name));
  d.info.shared = static_cast<std::uint64_t>(shared);
  d.info.memory = memory;
  const int target = choose_target(d.info.major, d.info.minor);
  if (target == 0) return say_no_target(d);
  std::snprintf(d.info.target, sizeof(d.info.target), "sm_%d", target);
  return V4I_CUDA_OK;
}

int load_images(v4i_cuda_device& d) {
  d.modules.reset(new (std::nothrow) Module[static_cast<std::size_t>(kImageCount)]);
  if (d.modules == nullptr) return no_host_memory();
  const Current current(d);
  if (current.code() != V4I_CUDA_OK) return current.code();
  for (int i = 0; i < kImageCount; ++i) {
    const Result r = d.f.cuModuleLoadData(&d.modules[static_cast<std::size_t>(i)], kImages[i].data);
    if (r != kSuccess) return answer(d, r, "loading the kernels of %s.cu", kImages[i].name);
    ++d.module_count;
  }
  std::size_t free = 0, total = 0;
  const int code = answer(d, d.f.cuMemGetInfo_v2(&free, &total), "asking for its free memory");
  d.info.free = free;
  return code;
}

int set_up(v4i_cuda_device& d) {
  if (const int code = describe(d); code != V4I_CUDA_OK) return code;
  Context context = nullptr;
  if (const Result r = d.f.cuDevicePrimaryCtxRetain(&context, d.id); r != kSuccess)
    return answer(d, r, "opening it");
  d.context = context;
  return load_images(d);
}

void free_all(v4i_cuda_device& d) {
  while (void* p = d.streams.take_one()) {
    auto* s = static_cast<v4i_cuda_stream*>(p);
    wait_stream(s);
    drop_stream(s);
  }
  while (void* p = d.graphs.take_one()) drop_graph(static_cast<v4i_cuda_graph*>(p));
  while (void* p = d.events.take_one()) drop_event(static_cast<v4i_cuda_event*>(p));
  while (void* p = d.kernels.take_one()) delete static_cast<v4i_cuda_kernel*>(p);
  while (void* p = d.memory.take_one()) free_memory(d, p);
  while (void* p = d.pinned.take_one()) free_pinned(d, p);
}

}  // namespace

bool Held::add(void* p) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    set_.insert(p);
    return true;
  } catch (...) {
    return false;
  }
}

bool Held::remove(void* p) noexcept {
  const std::lock_guard lock(mutex_);
  return set_.erase(p) != 0;
}

void* Held::take_one() noexcept {
  const std::lock_guard lock(mutex_);
  if (set_.empty()) return nullptr;
  void* p = *set_.begin();
  set_.erase(set_.begin());
  return p;
}

Current::Current(v4i_cuda_device& d, Kind kind) : d_(d), code_(V4I_CUDA_OK) {
  if (d.lost.load(std::memory_order_acquire)) {
    code_ = d.say_lost();
    return;
  }
  code_ = answer(d, d.f.cuCtxPushCurrent_v2(d.context), "entering its context");
  pushed_ = code_ == V4I_CUDA_OK;
  if (pushed_ && kind == kUnrecorded) {
    mode_ = static_cast<CaptureMode>(kCaptureRelaxed);
    const Result r = d.f.cuThreadExchangeStreamCaptureMode(&mode_);
    exchanged_ = r == kSuccess;
    if (is_fatal(r)) code_ = answer(d, r, "setting a mode");
  }
}

Current::~Current() {
  if (!pushed_) return;
  if (exchanged_) note(d_, d_.f.cuThreadExchangeStreamCaptureMode(&mode_), "restoring a mode");
  Context own = nullptr;
  note(d_, d_.f.cuCtxPopCurrent_v2(&own), "leaving its context");
}

int count(int* devices) {
  *devices = 0;
  const Functions* f = functions();
  if (f == nullptr) return V4I_CUDA_ABSENT;
  if (const Result r = f->cuDeviceGetCount(devices); r != kSuccess) {
    say("counting devices: %s", Reason(*f, r).text);
    return V4I_CUDA_ABSENT;
  }
  return V4I_CUDA_OK;
}

int open(int device, v4i_cuda_device** out) {
  *out = nullptr;
  const Functions* f = functions();
  if (f == nullptr) return V4I_CUDA_ABSENT;
  if (const int code = check_number(*f, device); code != V4I_CUDA_OK) return code;
  auto* d = new (std::nothrow) v4i_cuda_device(*f, device);
  if (d == nullptr) return no_host_memory();
  const int code = set_up(*d);
  if (code == V4I_CUDA_OK)
    *out = d;
  else
    close(d);
  return code;
}

void close(v4i_cuda_device* d) {
  if (d == nullptr) return;
  free_all(*d);
  if (d->module_count != 0) {
    const Current current(*d);
    for (int i = 0; i < d->module_count && current.code() == V4I_CUDA_OK && !d->lost; ++i)
      note(*d, d->f.cuModuleUnload(d->modules[static_cast<std::size_t>(i)]), "closing it");
  }
  // What a lost device still held goes with its context.
  if (d->context != nullptr) d->f.cuDevicePrimaryCtxRelease_v2(d->id);
  delete d;
}

int info(v4i_cuda_device* d, v4i_cuda_info* out) {
  const Current current(*d, Current::kUnrecorded);
  if (current.code() != V4I_CUDA_OK) return current.code();
  std::size_t free = 0, total = 0;
  const int code = answer(*d, d->f.cuMemGetInfo_v2(&free, &total), "asking for its free memory");
  if (code != V4I_CUDA_OK) return code;
  *out = d->info;
  out->free = free;
  return V4I_CUDA_OK;
}

}  // namespace v4i::kernels::cuda::driver

void v4i_cuda_device::lose(const char* doing, const char* reason) noexcept {
  const std::lock_guard lock(mutex_);
  if (lost.load(std::memory_order_relaxed)) return;
  std::snprintf(lost_, sizeof(lost_), "%s: %s", doing, reason);
  lost.store(true, std::memory_order_release);
}

int v4i_cuda_device::say_lost() noexcept {
  const std::lock_guard lock(mutex_);
  v4i::kernels::cuda::driver::say("device %d (%s) was lost in %s", number, name, lost_);
  return V4I_CUDA_LOST;
}
