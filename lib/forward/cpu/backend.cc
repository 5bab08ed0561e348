// Chooses kernels, opens executors; see backend.h.
#include "lib/forward/cpu/backend.h"

#include <algorithm>

#include "kernels/kernels.h"
#include "lib/base/error.h"
#include "lib/forward/cpu/executor.h"
#include "lib/forward/cpu/shapes.h"
#include "lib/forward/cpu/workspace.h"
#include "lib/forward/layouts.h"

namespace v4i::forward::cpu {

const kernels::KernelTable& choose_kernels(const std::string& name) {
  const auto* found = kernels::select_kernels(name.empty() ? nullptr : name.c_str());
  if (found != nullptr) return *found;
  constexpr int kMost = 16;
  const kernels::KernelTable* tables[kMost];
  const int n = std::min(kernels::available_kernels(tables, kMost), kMost);
  std::string names;
  for (int i = 0; i < n; ++i) names += fmt::format("{}{}", i == 0 ? "" : ", ", tables[i]->name);
  fail(Code::kUnsupported, "kernels \"{}\" do not run here; this build and processor have: {}",
       name, names);
}

namespace {

void check(const model::Model& model, const kernels::KernelTable& kernels, const Options& options) {
  check_shapes(model);
  if (options.numerics == Numerics::kFast) check_fast(model, kernels);
}

}  // namespace

std::size_t workspace_bytes(const model::Model& model, const std::string& isa, int threads,
                            const Options& options) {
  check(model, choose_kernels(isa), options);
  return Workspace::bytes_of(model.config(), make_layout(model.config(), model.plan(), options),
                             options.max_tokens, threads);
}

CpuBackend::CpuBackend(const std::string& isa, ThreadPool& pool, Budget& budget)
    : kernels_(choose_kernels(isa)),
      identity_(kernels_.name),
      pool_(pool),
      budget_(budget),
      memory_(std::make_shared<store::HostMemory>(budget)) {}

std::unique_ptr<Executor> CpuBackend::open(std::shared_ptr<const model::Model> model,
                                           Lookups lookups, const Options& options) {
  check(*model, kernels_, options);
  return std::make_unique<CpuExecutor>(std::move(model), std::move(lookups), kernels_, pool_,
                                       budget_, options);
}

}  // namespace v4i::forward::cpu
