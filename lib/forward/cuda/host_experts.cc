// Experts on the CPU, for the device; see host_experts.h.
#include "lib/forward/cuda/host_experts.h"

#include <algorithm>

namespace v4i::forward::cuda {

HostExperts::HostExperts(const model::Model& model, experts::Experts& experts,
                         const kernels::KernelTable& kernels, ThreadPool& pool, Budget& budget,
                         const Options& options, std::int32_t first)
    : config_(model.config()),
      experts_(experts),
      first_(first),
      threads_(static_cast<std::size_t>(pool.size())),
      cpu_{model, config_, kernels, pool, options.numerics != Numerics::kExact,
           false, {},      nullptr} {
  const auto take = [&]<class T>(Buffer<T>& b, std::int64_t count) {
    b = Buffer<T>(budget, static_cast<std::size_t>(count), Use::kScratch,
                  "the workspace of the CPU's experts");
    bytes_ += b.bytes();
  };
  const std::int64_t n = options.max_tokens, slots = n * config_.experts_active;
  const std::int64_t cols = std::max(config_.width, config_.expert_width);
  for (cpu::ThreadScratch& t : threads_) {
    take(t.linear, kernels::linear_scratch_floats(cols));
    take(t.part, n * cpu::expert_piece_rows(config_));
  }
  take(prepared_, std::max(kernels::linear_prepared_bytes(config_.width, n),
                           kernels::linear_prepared_bytes(config_.expert_width, slots)));
  take(gate_, slots * config_.expert_width);
  take(slot_weight_, slots);
  take(begin_, config_.experts + 1);
  take(active_, config_.experts);
  take(slot_token_, slots);
  cpu_.threads = threads_;
  cpu_.prepared = prepared_.data();
}

std::int64_t HostExperts::run(int layer, const model::Moe& moe, std::int64_t tokens,
                              const std::int32_t* expert, const float* weight, const float* x,
                              float* out) {
  const cpu::Routed routed = cpu::group_by_expert(
      {tokens, config_.experts_active, config_.experts, expert, weight, first_},
      {begin_.data(), active_.data(), slot_token_.data(), slot_weight_.data()});
  std::fill_n(out, tokens * config_.width, 0.0f);
  cpu::run_experts(cpu_, experts_, {moe, false, layer, routed, x, gate_.data(), out}, nullptr);
  return static_cast<std::int64_t>(routed.active.size());
}

}  // namespace v4i::forward::cuda
