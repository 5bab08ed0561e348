// Section 3 of v4infer.h: engine, devices, memory budget.
#include <unistd.h>

#include <cstring>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"

namespace v4i::capi {
namespace {

static_assert(V4I_IMAGE_PNG == media::kPng && V4I_IMAGE_JPEG == media::kJpeg &&
              V4I_IMAGE_WEBP == media::kWebp);

// The host's allocator with its contract enforced: what it throws does not pass
// through memory management, a failed allocation is a null pointer.
HostAllocator adopt_allocator(const v4i_allocator& a, std::shared_ptr<v4i_allocator>* keep) {
  if (a.alloc == nullptr || a.free == nullptr)
    fail(Code::kInvalid, "v4i_allocator: alloc and free must both be set");
  *keep = std::make_shared<v4i_allocator>(a);
  HostAllocator out;
  out.user = keep->get();
  out.alloc = [](std::size_t bytes, std::size_t align, void* user) -> void* {
    auto* host = static_cast<v4i_allocator*>(user);
    const HostFloats floats;
    try {
      return host->alloc(bytes, align, host->user);
    } catch (...) {
      return nullptr;
    }
  };
  out.free = [](void* p, std::size_t bytes, std::size_t align, void* user) {
    auto* host = static_cast<v4i_allocator*>(user);
    const HostFloats floats;
    quiet([&] { host->free(p, bytes, align, host->user); });
  };
  return out;
}

void check_engine_options(const v4i_engine_options& o) {
  refuse_extensions(o.next, "v4i_engine_options");
  check_range(o.thread_count, 0, 1024, "v4i_engine_options.thread_count");
  check_range(o.log_level, 0, V4I_LOG_DEBUG, "v4i_engine_options.log_level");
  check_range(o.thread_priority, -20, 19, "v4i_engine_options.thread_priority");
  constexpr std::int64_t kMostCpus = 65536;
  check_range(static_cast<std::int64_t>(o.cpu_count), 0, kMostCpus, "v4i_engine_options.cpu_count");
  if (o.cpu_count > 0) not_null(o.cpus, "v4i_engine_options.cpus");
  check_zero(o.reserved0, "v4i_engine_options.reserved0");
}

std::shared_ptr<EngineState> create_engine(const v4i_engine_options& o) {
  session::EngineOptions options;
  options.threads = o.thread_count;
  options.nice = o.thread_priority;
  if (o.cpu_count > 0) options.cpus.assign(o.cpus, o.cpus + o.cpu_count);
  if (o.backend != nullptr) options.backend.name = o.backend;
  if (o.force_isa != nullptr) options.backend.isa = o.force_isa;
  if (o.budget != nullptr) {
    const v4i_memory_budget budget = read_struct(o.budget, "v4i_memory_budget");
    options.host_bytes = budget.host_bytes;
    options.pinned_bytes = budget.pinned_bytes;
    options.device_bytes = budget.device_bytes;
    options.disk_bytes = budget.disk_bytes;
  }
  std::shared_ptr<v4i_allocator> keep;
  if (o.allocator != nullptr)
    options.allocator = adopt_allocator(read_struct(o.allocator, "v4i_allocator"), &keep);
  auto state = std::make_shared<EngineState>(options, o, std::move(keep));
  state->log.add(V4I_LOG_INFO, "engine",
                 fmt::format("created: {} kernels, {} threads", state->engine->backend().identity(),
                             state->engine->pool().size()));
  for (const std::string& text : state->engine->pool().refused())
    state->log.add(V4I_LOG_WARN, "engine", text);
  return state;
}

// The processor's own name, asked from the processor: no file is read.
void processor_name(char (&out)[128]) {
  std::memset(out, 0, sizeof out);
#if defined(__x86_64__)
  unsigned regs[12] = {};
  if (static_cast<unsigned>(__get_cpuid_max(0x80000000u, nullptr)) >= 0x80000004u) {
    for (unsigned i = 0; i < 3; ++i) {
      unsigned* r = regs + std::size_t{4} * i;
      __get_cpuid(0x80000002u + i, r, r + 1, r + 2, r + 3);
    }
    std::memcpy(out, regs, sizeof regs);
    return;
  }
#endif
  std::memcpy(out, "CPU", 3);
}

std::uint64_t pages(int name) {
  const long n = ::sysconf(name), size = ::sysconf(_SC_PAGESIZE);
  return n < 0 || size < 0 ? 0 : static_cast<std::uint64_t>(n) * static_cast<std::uint64_t>(size);
}

// The backend's device, if it has one, then the CPU.
std::size_t device_count(const EngineState& engine) {
  return engine.engine->backend().has_device() ? 2 : 1;
}

template <std::size_t N>
void copy_text(std::string_view text, char (&out)[N]) {
  std::memcpy(out, text.data(), std::min(text.size(), N - 1));
}

v4i_device_info device_info(const forward::DeviceInfo& device) {
  auto info = zeroed<v4i_device_info>();
  info.kind = 1;
  copy_text(device.name, info.name);
  copy_text(device.arch, info.arch);
  info.memory_total = device.memory_total;
  info.memory_free = device.memory_free;
  return info;
}

v4i_device_info processor_info(std::string_view isa) {
  auto info = zeroed<v4i_device_info>();
  processor_name(info.name);
  copy_text(isa, info.arch);
  info.memory_total = pages(_SC_PHYS_PAGES);
  info.memory_free = pages(_SC_AVPHYS_PAGES);
  return info;
}

v4i_memory_stats memory_stats(const Budget& budget) {
  auto out = zeroed<v4i_memory_stats>();
  out.device_weights = budget.used(Use::kWeights, Place::kDevice);
  out.device_kv = budget.used(Use::kKv, Place::kDevice);
  out.device_scratch = budget.used(Use::kScratch, Place::kDevice);
  out.device_peak = budget.peak(Place::kDevice);
  out.pinned = budget.used(Place::kPinned);
  out.disk_kv = budget.used(Place::kDisk);
  out.host_weights = budget.used(Use::kWeights);
  out.host_kv = budget.used(Use::kKv);
  out.host_scratch = budget.used(Use::kScratch);
  out.host_peak = budget.peak();
  return out;
}

// They hear of everything that is under way, and then their last call.
void close_host_stores(EngineState& engine) {
  std::vector<std::weak_ptr<store::SharedStore>> stores;
  {
    const std::scoped_lock lock(engine.stores_mutex);
    stores.swap(engine.host_stores);
  }
  for (const auto& s : stores)
    if (const auto shared = s.lock()) shared->close();
}

std::string metrics_text(EngineState& engine, std::int32_t format) {
  const v4i_memory_stats m = memory_stats(engine.engine->budget());
  const int threads = engine.engine->pool().size();
  if (format == V4I_FORMAT_JSON)
    return fmt::format(
        "{{\"threads\": {}, \"host_weights_bytes\": {}, \"host_kv_bytes\": {}, "
        "\"host_scratch_bytes\": {}, \"host_peak_bytes\": {}}}",
        threads, m.host_weights, m.host_kv, m.host_scratch, m.host_peak);
  if (format != V4I_FORMAT_PROMETHEUS)
    fail(Code::kUnsupported, "v4i_engine_metrics: format {} is not JSON ({}) or PROMETHEUS ({})",
         format, V4I_FORMAT_JSON, V4I_FORMAT_PROMETHEUS);
  return fmt::format(
      "# TYPE v4infer_threads gauge\nv4infer_threads {}\n"
      "# TYPE v4infer_host_bytes gauge\nv4infer_host_bytes{{use=\"weights\"}} {}\n"
      "v4infer_host_bytes{{use=\"kv\"}} {}\nv4infer_host_bytes{{use=\"scratch\"}} {}\n"
      "# TYPE v4infer_host_peak_bytes gauge\nv4infer_host_peak_bytes {}\n",
      threads, m.host_weights, m.host_kv, m.host_scratch, m.host_peak);
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_engine_create(const v4i_engine_options* o, v4i_engine** out, v4i_error** err) {
  return guard(err, [&] {
    checked_size(o, "v4i_engine_options");
    if (o->abi_version != V4I_ABI_VERSION)
      fail(Code::kAbi, "v4i_engine_options.abi_version is {}, this library is version {}",
           o->abi_version, V4I_ABI_VERSION);
    const v4i_engine_options options = read_struct(o, "v4i_engine_options");
    v4i_engine*& to = not_null(out, "out");
    check_engine_options(options);
    auto handle = std::make_unique<v4i_engine>(v4i_engine{create_engine(options)});
    handle->state->flush_log();
    to = handle.release();
  });
}

void v4i_engine_release(v4i_engine* e) {
  if (e != nullptr && e->state->same_process()) delete e;
}

size_t v4i_engine_device_count(const v4i_engine* e) {
  return e == nullptr ? 0 : device_count(*e->state);
}

v4i_status v4i_engine_device_info(const v4i_engine* e, size_t i, v4i_device_info* out,
                                  v4i_error** err) {
  return guard(err, [&] {
    EngineState& engine = engine_of(e);
    if (const std::size_t n = device_count(engine); i >= n)
      fail(Code::kInvalid, "device {}: there {} {}, counted from 0", i, n == 1 ? "is" : "are", n);
    const auto device = engine.engine->backend().device();
    const v4i_device_info info =
        device && i == 0 ? device_info(*device)
                         : processor_info(device ? "" : engine.engine->backend().identity());
    write_struct(info, out, "v4i_device_info");
  });
}

v4i_status v4i_engine_set_budget(v4i_engine* e, const v4i_memory_budget* b, v4i_error** err) {
  return guard(err, [&] {
    EngineState& engine = engine_of(e);
    const v4i_memory_budget wanted = read_struct(b, "v4i_memory_budget");
    const std::uint64_t cap = Budget::cap_of(wanted.host_bytes);
    Budget& budget = engine.engine->budget();
    budget.change_cap(cap);
    budget.change_cap(Budget::cap_of(wanted.pinned_bytes), Place::kPinned);
    if (wanted.device_bytes != 0) budget.change_cap(wanted.device_bytes, Place::kDevice);
    budget.change_cap(Budget::cap_of(wanted.disk_bytes), Place::kDisk);
    if (budget.used() > cap)
      engine.log.add(V4I_LOG_WARN, "engine",
                     fmt::format("budget of {} bytes is below the {} in use: nothing new is "
                                 "granted until sessions are released",
                                 cap, budget.used()));
    engine.flush_log();
  });
}

v4i_status v4i_engine_image_formats(const v4i_engine* e, uint32_t* out, v4i_error** err) {
  return guard(err, [&] {
    uint32_t& to = not_null(out, "out");
    to = engine_of(e).engine->image_files().formats();
  });
}

v4i_status v4i_engine_memory(const v4i_engine* e, v4i_memory_stats* out, v4i_error** err) {
  return guard(err, [&] {
    write_struct(memory_stats(engine_of(e).engine->budget()), out, "v4i_memory_stats");
  });
}

v4i_status v4i_engine_quiesce(v4i_engine* e, v4i_error** err) {
  return guard(err, [&] {
    EngineState& engine = *not_null(e, "the engine").state;
    check_process(engine);
    engine.gate.check_outside();
    close_host_stores(engine);
    engine.gate.close();
  });
}

v4i_status v4i_engine_metrics(const v4i_engine* e, int32_t format, v4i_buffer** out,
                              v4i_error** err) {
  return guard(err, [&] { write_buffer(metrics_text(engine_of(e), format), out, "out"); });
}

}  // extern "C"
