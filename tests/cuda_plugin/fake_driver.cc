// libcuda.so.1 in host memory; see fake_driver.h.  With V4I_FAKE_OLD it lacks a function.
#include "tests/cuda_plugin/fake_driver.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <utility>

#include "kernels/cuda/driver/functions.h"

namespace v4i::kernels::cuda::driver {

using Work = std::vector<std::function<void()>>;
struct ContextTag {
  int users = 0;
  bool dead = false;
  std::map<std::uintptr_t, std::size_t> memory, pinned;  // address -> bytes
  std::map<void*, std::shared_ptr<void>> handles;        // streams, events, modules, graphs
};
struct FunctionTag {
  std::string name;
  std::size_t bytes = 0;
  std::size_t dynamic = 48 << 10;  // bytes of shared memory allowed
};
struct ModuleTag {
  std::map<std::string, FunctionTag> functions;
};
struct EventTag {
  bool recorded = false;
};
struct GraphTag {
  Work work;
};
struct GraphExecTag {
  Work work;
};
struct StreamTag {
  bool capturing = false;
  Work work;
};

}  // namespace v4i::kernels::cuda::driver

namespace {

using namespace v4i::kernels::cuda::driver;
using v4i::test::AddArgs;
using v4i::test::FakeDriver;
using v4i::test::OtherArgs;

constexpr Result kInvalidValue = 1, kNotPermittedInCapture = 900;

thread_local std::vector<Context> stack;
thread_local int capture_mode_now = 0;
std::recursive_mutex mutex;
ContextTag primary;

struct Fake final : FakeDriver {
  void* current() override { return stack.empty() ? nullptr : stack.back(); }
  void set_current(void* context) override { stack.assign(1, static_cast<Context>(context)); }
  int capture_mode() override { return capture_mode_now; }
};

Fake& fake() {
  static Fake it;
  return it;
}

bool fatal(Result r) {
  return (r >= 700 && r < 720) || r == 46 || r == 201 || r == 214 || r == 999;
}

// Counts a call.  kSuccess: go on.
Result begin(const char* name) {
  Fake& f = fake();
  ++f.calls;
  if (f.fail_call != f.calls && f.fail_name != name) return kSuccess;
  f.failed = name;
  if (fatal(f.fail_with) && primary.users > 0) primary.dead = true;
  return f.fail_with;
}

// The same for calls that need the context.
Result begin_on_context(const char* name) {
  Fake& f = fake();
  if (primary.dead) {
    f.after_death.push_back(name);
    return kIllegalAddress;
  }
  const bool there = !stack.empty() && stack.back() == &primary && primary.users > 0;
  if (!there) f.mistakes.push_back(std::string(name) + " without the context");
  return there ? begin(name) : kInvalidContext;
}

bool inside(const std::map<std::uintptr_t, std::size_t>& map, std::uintptr_t p, std::size_t bytes) {
  auto next = map.upper_bound(p);
  if (next == map.begin()) return false;
  --next;
  return p + bytes <= next->first + next->second;
}

void check_address(Address p, std::size_t bytes, const char* who) {
  const auto at = static_cast<std::uintptr_t>(p);
  if (!inside(primary.memory, at, bytes) && !inside(primary.pinned, at, bytes))
    fake().mistakes.push_back(std::string(who) + " outside of the device's memory");
}

template <class T>
T* at(Address p) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(p));
}

Result enqueue(Stream s, std::function<void()> work) {
  if (s->capturing)
    s->work.push_back(std::move(work));
  else
    work();
  return kSuccess;
}

template <class T>
Result make(T** out) {
  const auto made = std::make_shared<T>();
  primary.handles[made.get()] = made;
  *out = made.get();
  ++fake().alive;
  return kSuccess;
}

void drop(void* p) {
  if (primary.handles.erase(p) == 0) fake().mistakes.push_back("a handle is dropped twice");
  --fake().alive;
}

std::function<void()> work_of(const FunctionTag& f, const void* args) {
  if (f.name != "v4i_test_add") return [] {};
  AddArgs a;
  std::memcpy(&a, args, sizeof(a));
  return [a] {
    const std::size_t bytes = static_cast<std::size_t>(a.count) * sizeof(float);
    check_address(reinterpret_cast<std::uintptr_t>(a.to), bytes, "v4i_test_add");
    check_address(reinterpret_cast<std::uintptr_t>(a.from), bytes, "v4i_test_add");
    for (std::int64_t i = 0; i < a.count; ++i) a.to[i] += a.from[i];
  };
}

// Starts a call: returns its failure, if it has one.  `on_context` as well where it needs it.
#define CALL(name)                   \
  const std::lock_guard lock(mutex); \
  if (const Result failure = begin(name); failure != 0) return failure
#define CALL_ON_CONTEXT(name)        \
  const std::lock_guard lock(mutex); \
  if (const Result failure = begin_on_context(name); failure != 0) return failure
// Calls that give something back do so even when they fail; what a dead context holds goes with it.
#define GIVE_BACK(name, what)                   \
  const std::lock_guard lock(mutex);            \
  const Result result = begin_on_context(name); \
  if (!primary.dead) {                          \
    what;                                       \
  }                                             \
  return result

}  // namespace

extern "C" {
#pragma GCC visibility push(default)

FakeDriver* v4i_fake_driver() { return &fake(); }

Result cuInit(unsigned) {
  CALL("cuInit");
  return fake().init_result;
}
Result cuDriverGetVersion(int* version) {
  CALL("cuDriverGetVersion");
  *version = fake().version;
  return kSuccess;
}
Result cuGetErrorName(Result r, const char** text) {
  *text = r == kOutOfMemory      ? "CUDA_ERROR_OUT_OF_MEMORY"
          : r == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                 : nullptr;
  return *text != nullptr ? kSuccess : kInvalidValue;
}
Result cuGetErrorString(Result r, const char** text) {
  *text = r == kOutOfMemory      ? "out of memory"
          : r == kIllegalAddress ? "an illegal memory access was encountered"
                                 : nullptr;
  return *text != nullptr ? kSuccess : kInvalidValue;
}
Result cuDeviceGetCount(int* count) {
  CALL("cuDeviceGetCount");
  *count = fake().devices;
  return kSuccess;
}
Result cuDeviceGet(DeviceNumber* out, int ordinal) {
  CALL("cuDeviceGet");
  *out = ordinal + 40;
  return kSuccess;
}
Result cuDeviceGetName(char* name, int size, DeviceNumber) {
  CALL("cuDeviceGetName");
  std::strncpy(name, "Fake", static_cast<std::size_t>(size));
  return kSuccess;
}
Result cuDeviceGetAttribute(int* out, DeviceAttribute attribute, DeviceNumber) {
  CALL("cuDeviceGetAttribute");
  *out = attribute == kComputeCapabilityMajor   ? fake().major
         : attribute == kComputeCapabilityMinor ? fake().minor
         : attribute == kMultiprocessorCount    ? 132
                                                : 227 << 10;
  return kSuccess;
}
Result cuDeviceTotalMem_v2(std::size_t* bytes, DeviceNumber) {
  CALL("cuDeviceTotalMem_v2");
  *bytes = fake().memory;
  return kSuccess;
}

Result cuDevicePrimaryCtxRetain(Context* out, DeviceNumber) {
  CALL("cuDevicePrimaryCtxRetain");
  if (primary.users++ == 0) ++fake().alive;
  *out = &primary;
  return kSuccess;
}
Result cuDevicePrimaryCtxRelease_v2(DeviceNumber) {
  const std::lock_guard lock(mutex);
  Fake& f = fake();
  const Result result = begin("cuDevicePrimaryCtxRelease_v2");
  if (--primary.users != 0) return result;
  if (!primary.dead) f.leaked += f.alive - 1;
  f.alive = 0;
  for (const auto& [p, bytes] : primary.memory) std::free(reinterpret_cast<void*>(p));
  for (const auto& [p, bytes] : primary.pinned) std::free(reinterpret_cast<void*>(p));
  primary = ContextTag();
  return result;
}
Result cuCtxPushCurrent_v2(Context c) {
  CALL("cuCtxPushCurrent_v2");
  if (primary.dead) fake().after_death.push_back("cuCtxPushCurrent_v2");
  stack.push_back(c);
  return kSuccess;
}
Result cuCtxPopCurrent_v2(Context* out) {
  const std::lock_guard lock(mutex);
  const Result result = begin("cuCtxPopCurrent_v2");
  *out = stack.back();
  stack.pop_back();
  return result;
}

Result cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  CALL_ON_CONTEXT("cuMemGetInfo_v2");
  std::size_t used = 0;
  for (const auto& [p, bytes] : primary.memory) used += bytes;
  *total = fake().memory;
  *free = *total - used;
  return kSuccess;
}
Result cuMemAlloc_v2(Address* out, std::size_t bytes) {
  CALL_ON_CONTEXT("cuMemAlloc_v2");
  if (bytes > fake().memory) return kOutOfMemory;
  void* p = std::malloc(bytes);
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  primary.memory[address] = bytes;
  ++fake().alive;
  *out = address;
  return kSuccess;
}
Result cuMemFree_v2(Address p) {
  GIVE_BACK("cuMemFree_v2", primary.memory.erase(static_cast<std::uintptr_t>(p));
            std::free(at<void>(p)); --fake().alive);
}
Result cuMemHostAlloc(void** out, std::size_t bytes, unsigned flags) {
  CALL_ON_CONTEXT("cuMemHostAlloc");
  if (flags != 3) fake().mistakes.push_back("pinned memory that is not portable and mapped");
  if (bytes > fake().memory) return kOutOfMemory;
  *out = std::malloc(bytes);
  primary.pinned[reinterpret_cast<std::uintptr_t>(*out)] = bytes;
  ++fake().alive;
  return kSuccess;
}
Result cuMemHostGetDevicePointer_v2(Address* out, void* host, unsigned) {
  CALL_ON_CONTEXT("cuMemHostGetDevicePointer_v2");
  *out = reinterpret_cast<std::uintptr_t>(host);
  return kSuccess;
}
Result cuMemFreeHost(void* host) {
  GIVE_BACK("cuMemFreeHost", primary.pinned.erase(reinterpret_cast<std::uintptr_t>(host));
            std::free(host); --fake().alive);
}

Result cuStreamCreate(Stream* out, unsigned flags) {
  CALL_ON_CONTEXT("cuStreamCreate");
  if (flags != 1) fake().mistakes.push_back("a stream that waits for the null stream");
  return make(out);
}
Result cuStreamDestroy_v2(Stream s) { GIVE_BACK("cuStreamDestroy_v2", drop(s)); }
Result cuStreamSynchronize(Stream s) {
  CALL_ON_CONTEXT("cuStreamSynchronize");
  return s->capturing ? kNotPermittedInCapture : kSuccess;
}
Result cuStreamWaitEvent(Stream, Event e, unsigned) {
  CALL_ON_CONTEXT("cuStreamWaitEvent");
  if (!e->recorded) fake().mistakes.push_back("waiting for an event that was never recorded");
  return kSuccess;
}
Result cuEventCreate(Event* out, unsigned) {
  CALL_ON_CONTEXT("cuEventCreate");
  return make(out);
}
Result cuEventDestroy_v2(Event e) { GIVE_BACK("cuEventDestroy_v2", drop(e)); }
Result cuEventRecord(Event e, Stream s) {
  CALL_ON_CONTEXT("cuEventRecord");
  e->recorded = true;
  return enqueue(s, [] {});
}
Result cuEventSynchronize(Event) {
  CALL_ON_CONTEXT("cuEventSynchronize");
  return kSuccess;
}
Result cuEventElapsedTime(float* ms, Event from, Event to) {
  CALL_ON_CONTEXT("cuEventElapsedTime");
  *ms = 0.5F;
  return from->recorded && to->recorded ? kSuccess : 400;
}

Result cuMemcpyHtoDAsync_v2(Address to, const void* from, std::size_t bytes, Stream s) {
  CALL_ON_CONTEXT("cuMemcpyHtoDAsync_v2");
  check_address(to, bytes, "an upload");
  return enqueue(s, [=] { std::memcpy(at<void>(to), from, bytes); });
}
Result cuMemcpyDtoHAsync_v2(void* to, Address from, std::size_t bytes, Stream s) {
  CALL_ON_CONTEXT("cuMemcpyDtoHAsync_v2");
  check_address(from, bytes, "a download");
  return enqueue(s, [=] { std::memcpy(to, at<void>(from), bytes); });
}
Result cuMemcpyDtoDAsync_v2(Address to, Address from, std::size_t bytes, Stream s) {
  CALL_ON_CONTEXT("cuMemcpyDtoDAsync_v2");
  check_address(to, bytes, "a copy");
  check_address(from, bytes, "a copy");
  return enqueue(s, [=] { std::memcpy(at<void>(to), at<void>(from), bytes); });
}
Result cuMemsetD8Async(Address to, unsigned char byte, std::size_t bytes, Stream s) {
  CALL_ON_CONTEXT("cuMemsetD8Async");
  check_address(to, bytes, "a fill");
  return enqueue(s, [=] { std::memset(at<void>(to), byte, bytes); });
}

// An image is a text: names of kernels and bytes of their arguments.
Result cuModuleLoadData(Module* out, const void* image) {
  CALL_ON_CONTEXT("cuModuleLoadData");
  make(out);
  std::istringstream text(static_cast<const char*>(image));
  std::string name;
  std::size_t bytes = 0;
  while (text >> name >> bytes) (*out)->functions[name] = FunctionTag{name, bytes};
  return kSuccess;
}
Result cuModuleUnload(Module m) { GIVE_BACK("cuModuleUnload", drop(m)); }
Result cuModuleGetFunction(Function* out, Module m, const char* name) {
  CALL_ON_CONTEXT("cuModuleGetFunction");
  const auto found = m->functions.find(name);
  if (found == m->functions.end()) return kNotFound;
  *out = &found->second;
  return kSuccess;
}
Result cuFuncGetAttribute(int* out, FunctionAttribute, Function) {
  CALL_ON_CONTEXT("cuFuncGetAttribute");
  *out = 1024;  // bytes of shared memory that the function has for itself
  return kSuccess;
}
Result cuFuncSetAttribute(Function f, FunctionAttribute attribute, int value) {
  CALL_ON_CONTEXT("cuFuncSetAttribute");
  if (attribute != kFunctionMaxDynamicShared || value != 226 << 10) return kInvalidValue;
  f->dynamic = static_cast<std::size_t>(value);
  return kSuccess;
}
Result cuFuncGetParamInfo(Function f, std::size_t index, std::size_t* offset, std::size_t* bytes) {
  CALL_ON_CONTEXT("cuFuncGetParamInfo");
  *offset = 0;
  *bytes = f->bytes;
  return index == 0 ? kSuccess : kInvalidValue;
}
Result cuLaunchKernel(Function f, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned,
                      unsigned, unsigned shared, Stream s, void** params, void** extra) {
  CALL_ON_CONTEXT("cuLaunchKernel");
  const bool right = params == nullptr && extra[0] == reinterpret_cast<void*>(1) &&
                     extra[2] == reinterpret_cast<void*>(2) && extra[4] == nullptr &&
                     *static_cast<std::size_t*>(extra[3]) == f->bytes;
  if (!right || shared > f->dynamic) fake().mistakes.push_back("a launch with wrong arguments");
  if (x == 0 || y == 0 || z == 0 || threads == 0 || threads > 1024) return kInvalidValue;
  return enqueue(s, work_of(*f, extra[1]));
}

Result cuThreadExchangeStreamCaptureMode(CaptureMode* mode) {
  CALL("cuThreadExchangeStreamCaptureMode");
  std::swap(*mode, capture_mode_now);
  return kSuccess;
}
Result cuStreamBeginCapture_v2(Stream s, CaptureMode mode) {
  CALL_ON_CONTEXT("cuStreamBeginCapture_v2");
  if (s->capturing || mode != kCaptureThreadLocal) return kInvalidValue;
  s->capturing = true;
  return kSuccess;
}
Result cuStreamEndCapture(Stream s, Graph* out) {
  const std::lock_guard lock(mutex);
  const Result result = begin_on_context("cuStreamEndCapture");
  if (primary.dead) return result;
  const bool was = std::exchange(s->capturing, false);
  const Work work = std::exchange(s->work, {});
  *out = nullptr;
  if (result != kSuccess || !was) return result != kSuccess ? result : kInvalidValue;
  make(out);
  (*out)->work = work;
  return kSuccess;
}
Result cuGraphInstantiateWithFlags(GraphExec* out, Graph g, unsigned long long) {
  CALL_ON_CONTEXT("cuGraphInstantiateWithFlags");
  make(out);
  (*out)->work = g->work;
  return kSuccess;
}
Result cuGraphDestroy(Graph g) { GIVE_BACK("cuGraphDestroy", drop(g)); }
Result cuGraphExecDestroy(GraphExec g) { GIVE_BACK("cuGraphExecDestroy", drop(g)); }
#if !defined(V4I_FAKE_OLD)
Result cuGraphLaunch(GraphExec g, Stream s) {
  CALL_ON_CONTEXT("cuGraphLaunch");
  for (const auto& work : g->work) enqueue(s, work);
  return kSuccess;
}
#endif

#pragma GCC visibility pop
}  // extern "C"
