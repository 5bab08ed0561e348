// The CPU's executor: everything is done when a call returns.
#pragma once

#include <memory>
#include <vector>

#include "lib/forward/backend.h"
#include "lib/forward/cpu/pass.h"
#include "lib/forward/options.h"

namespace v4i::forward::cpu {

class CpuExecutor final : public Executor {
 public:
  CpuExecutor(std::shared_ptr<const model::Model> model, Lookups lookups,
              const kernels::KernelTable& kernels, ThreadPool& pool, Budget& budget,
              const Options& options);

  const std::string& identity() const override { return identity_; }
  std::size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::int64_t head_rows() const override { return Workspace::kHeadTokens; }
  EngramGates engram_gates() const override { return pass_.gates; }
  void begin(const Batch& batch, Streams given, Profile* profile) override;
  void begin_draft(const Batch& batch, const float* hidden) override;
  void layer(Layer layer, const Batch& in, const Batch& out, kv::Lease lease) override;
  bool has_dspark() const noexcept override { return true; }
  void feed_dspark(const Batch& batch, const float* taps) override;
  void begin_dspark(const Batch& batch) override;
  void guess_dspark(const Guesses& out) override { guess(pass_, out); }
  void streams(std::int64_t first, std::int64_t count, float* to, float* pre) override;
  void head(bool draft, std::span<const LogitsRow> rows) override;
  void finish() override;
  void encode_image(std::int64_t grid_height, std::int64_t grid_width, const float* patches,
                    float* out, const CancelFlag* cancel) override;
  // Nothing but reads of n-gram rows is ever under way between calls.
  void abandon() noexcept override;

 private:
  void start(const Batch& batch, Profile* profile);
  void embed_tokens();
  void begin_pre(const float* given);
  void begin_engram();
  void tap_layer(int layer);
  std::size_t width() const;  // floats of a token's streams

  std::shared_ptr<const model::Model> model_;
  Lookups lookups_;
  Budget& budget_;
  const std::string identity_;  // "avx2"
  std::vector<float> freq_a_, freq_b_;
  std::vector<std::int32_t> windows_;  // of token classes, see engram::Tables::begin
  Workspace workspace_;
  Pass pass_;
  const Batch* all_ = nullptr;  // of this run
  std::int64_t head_count_ = 0;
};

}  // namespace v4i::forward::cpu
