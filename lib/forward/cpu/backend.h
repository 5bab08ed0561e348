// The CPU as a backend: kernels of one instruction set, the engine's threads, the host's memory.
#pragma once

#include <memory>
#include <string>

#include "lib/base/budget.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/backend.h"

namespace v4i::kernels {
struct KernelTable;
}

namespace v4i::forward::cpu {

// The kernels of `isa`, the best that run here when it is empty.  Error(kUnsupported) naming the
// ones there are.
const kernels::KernelTable& choose_kernels(const std::string& isa);

// What the workspace of an opened model takes, without opening it.  Error(kUnsupported) as open().
std::size_t workspace_bytes(const model::Model& model, const std::string& isa, int threads,
                            const Options& options);

class CpuBackend final : public Backend {
 public:
  // Kernels of `isa`, the best that run here when it is empty.  Error(kUnsupported) naming the
  // ones there are.
  CpuBackend(const std::string& isa, ThreadPool& pool, Budget& budget);

  bool reads_single_rows() const noexcept override { return true; }
  const char* name() const override { return "cpu"; }
  const std::string& identity() const override { return identity_; }  // "avx2"
  const std::shared_ptr<store::Memory>& memory() const override { return memory_; }
  std::unique_ptr<Executor> open(std::shared_ptr<const model::Model> model, Lookups lookups,
                                 const Options& options) override;

 private:
  const kernels::KernelTable& kernels_;
  std::string identity_;
  ThreadPool& pool_;
  Budget& budget_;
  std::shared_ptr<store::Memory> memory_;
};

}  // namespace v4i::forward::cpu
