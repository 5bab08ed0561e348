// An NVIDIA GPU as a backend: kernels of libv4infer-cuda.so, KV rows and weights on the device,
// experts that do not fit there on the CPU.
#pragma once

#include <memory>
#include <string>

#include "lib/base/budget.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/backend.h"
#include "lib/forward/cuda/device.h"
#include "lib/forward/cuda/memory.h"

namespace v4i::kernels {
struct KernelTable;
}

namespace v4i::forward::cuda {

class CudaBackend final : public Backend {
 public:
  // Device `number`.  `isa`: of the CPU's kernels, the best when it is empty.  Error(kUnsupported)
  // saying what is missing: the library, a driver, the device.
  CudaBackend(std::shared_ptr<const Library> library, int number, const std::string& isa,
              ThreadPool& pool, Budget& budget);

  const char* name() const override { return "cuda"; }
  const std::string& identity() const override { return identity_; }  // "sm_90"
  const std::shared_ptr<store::Memory>& memory() const override { return as_memory_; }
  bool has_device() const noexcept override { return true; }
  std::optional<DeviceInfo> device() const override;
  std::unique_ptr<Executor> open(std::shared_ptr<const model::Model> model, Lookups lookups,
                                 const Options& options) override;

 private:
  std::int32_t experts_that_fit(const model::Model& model, const Options& options) const;

  std::shared_ptr<Device> device_;
  std::string identity_;
  const kernels::KernelTable& kernels_;
  ThreadPool& pool_;
  Budget& budget_;
  std::shared_ptr<DeviceMemory> memory_;
  std::shared_ptr<store::Memory> as_memory_;
};

}  // namespace v4i::forward::cuda
