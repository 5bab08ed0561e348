// The experts that the CPU computes for the device: those that do not fit on it.
#pragma once

#include <memory>
#include <vector>

#include "lib/experts/experts.h"
#include "lib/forward/cpu/cpu.h"
#include "lib/forward/cpu/experts.h"
#include "lib/forward/options.h"

namespace v4i::forward::cuda {

class HostExperts {
 public:
  // Experts from `first` on, of every layer.
  HostExperts(const model::Model& model, experts::Experts& experts,
              const kernels::KernelTable& kernels, ThreadPool& pool, Budget& budget,
              const Options& options, std::int32_t first);

  std::size_t bytes() const { return bytes_; }
  // out[t, :] = the sum over token t's experts, in rising order, not rounded; experts that the
  // device computes are left out.  `expert`, `weight` [tokens, active], `x` [tokens, width],
  // quantised as the numerics want it.
  // Returns how many different experts that were.
  std::int64_t run(int layer, const model::Moe& moe, std::int64_t tokens,
                   const std::int32_t* expert, const float* weight, const float* x, float* out);

 private:
  const model::Config& config_;
  experts::Experts& experts_;
  const std::int32_t first_;
  std::size_t bytes_ = 0;
  std::vector<cpu::ThreadScratch> threads_;
  Buffer<std::byte> prepared_;
  Buffer<float> gate_, slot_weight_;
  Buffer<std::int32_t> begin_, active_, slot_token_;
  cpu::Cpu cpu_;
};

}  // namespace v4i::forward::cuda
