// Opens executors on a device; see backend.h.
#include "lib/forward/cuda/backend.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/forward/cpu/backend.h"
#include "lib/forward/cpu/shapes.h"
#include "lib/forward/cuda/executor.h"
#include "lib/forward/layouts.h"

namespace v4i::forward::cuda {

namespace {

// Of the device's memory, what the engine may use where no budget says so: the driver, and other
// programs' screens, need some too.
std::uint64_t cap_of(const Budget& budget, const Device& device) {
  const std::uint64_t cap = budget.cap(Place::kDevice);
  return std::min(cap, device.info().memory / 10 * 9);
}

}  // namespace

CudaBackend::CudaBackend(std::shared_ptr<const Library> library, int number, const std::string& isa,
                         ThreadPool& pool, Budget& budget)
    : device_(Device::open(std::move(library), number)),
      identity_(device_->info().target),
      kernels_(cpu::choose_kernels(isa)),
      pool_(pool),
      budget_(budget),
      memory_(std::make_shared<DeviceMemory>(device_, budget)),
      as_memory_(memory_) {
  budget.set_cap(cap_of(budget, *device_), Place::kDevice);
}

std::optional<DeviceInfo> CudaBackend::device() const {
  const v4i_cuda_info& i = device_->info();
  std::uint64_t free = 0;
  try {
    free = device_->free_bytes();
  } catch (const Error&) {  // lost
  }
  return DeviceInfo{i.name, i.target, i.memory, free};
}

// How many experts of each layer.  An eighth of the memory is left to KV rows.  It depends on the
// budget and on what other models hold, not on what happens to be free: the number is part of the
// identity of saved sessions.
std::int32_t CudaBackend::experts_that_fit(const model::Model& m, const Options& o) const {
  const std::uint64_t cap = cap_of(budget_, *device_), used = budget_.used(Place::kDevice);
  const kv::Layout layout = make_layout(m.config(), m.plan(), o);
  const std::uint64_t fixed =
      DeviceWeights::bytes(m) + Workspace::bytes(m.config(), layout, o.max_tokens, true);
  const std::uint64_t rows = cap / 8;
  const std::uint64_t taken = used + fixed + rows;
  if (used + fixed + layout.fixed_bytes > cap)
    fail(Code::kNoMemory,
         "{}: everything but the experts takes {} bytes of {} on the device, beside {} in use, and "
         "a "
         "session {} more; raise device_bytes as far as the card allows, release sessions and "
         "models, or use backend \"cpu\"",
         m.path(), fixed, cap, used, layout.fixed_bytes);
  return DeviceExperts::fit(m, taken < cap ? cap - taken : 0);
}

std::unique_ptr<Executor> CudaBackend::open(std::shared_ptr<const model::Model> model,
                                            Lookups lookups, const Options& options) {
  const std::string beyond = model::first_beyond_v4(model->plan());
  if (!beyond.empty())
    fail(Code::kUnsupported,
         "{}: CUDA runs V4 models, and this one has {}; backend \"cpu\" runs it", model->path(),
         beyond);
  cpu::check_shapes(*model);
  if (options.numerics == Numerics::kFast)
    fail(Code::kUnsupported,
         "{}: numerics fast is not there on CUDA yet; native uses its tensor cores", model->path());
  constexpr int kMostTokens = 32768;  // blocks of a launch are counted by 16 bits in one direction
  if (options.max_tokens > kMostTokens)
    fail(Code::kUnsupported, "{}: max_batch_tokens is {}, on CUDA at most {}", model->path(),
         options.max_tokens, kMostTokens);
  memory_->drop_kept();
  const std::int32_t here = experts_that_fit(*model, options);
  return std::make_unique<CudaExecutor>(Machine{device_, memory_, kernels_, pool_, budget_},
                                        std::move(model), std::move(lookups.experts), options,
                                        here);
}

}  // namespace v4i::forward::cuda
