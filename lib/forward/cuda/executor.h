// The CUDA backend's executor.  Calls return when their kernels are started; finish() waits.
//
// A decode step of a few tokens whose experts are all on the device is captured as a graph the
// second time that its shape is met, and launched as one from then on: layer() then only notes
// where the KV blocks lie.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "lib/forward/cuda/memory.h"
#include "lib/forward/cuda/pass.h"
#include "lib/forward/options.h"

namespace v4i::forward::cuda {

// What an executor stands on.
struct Machine {
  std::shared_ptr<Device> device;
  std::shared_ptr<DeviceMemory> memory;
  const kernels::KernelTable& kernels;  // of the CPU, for experts that do not fit on the device
  ThreadPool& pool;
  Budget& budget;
};

class CudaExecutor final : public Executor {
 public:
  // `experts_here`: of each layer, the first ones, on the device; the CPU computes the others.
  CudaExecutor(const Machine& machine, std::shared_ptr<const model::Model> model,
               std::shared_ptr<experts::Experts> experts, const Options& options,
               std::int32_t experts_here);
  ~CudaExecutor() override;

  const std::string& identity() const override { return identity_; }
  std::size_t workspace_bytes() const override { return workspace_.total; }
  std::int64_t head_rows() const override { return Workspace::kHeadTokens; }
  void begin(const Batch& batch, Streams given, Profile* profile) override;
  void begin_draft(const Batch& batch, const float* hidden) override;
  void feed_dspark(const Batch&, const float*) override { refuse_dspark(); }
  void begin_dspark(const Batch&) override { refuse_dspark(); }
  void guess_dspark(const Guesses&) override { refuse_dspark(); }
  void layer(Layer layer, const Batch& in, const Batch& out, kv::Lease lease) override;
  void streams(std::int64_t first, std::int64_t count, float* to, float* pre) override;
  void head(bool draft, std::span<const LogitsRow> rows) override;
  void finish() override;
  void abandon() noexcept override;

 private:
  // What a captured graph depends on.
  struct Key {
    RunShape shape;
    std::int64_t head_rows = 0;
    auto operator<=>(const Key&) const = default;
  };
  enum class Mode { kDirect, kCapture, kReplay };
  static constexpr std::int64_t kGraphTokens = 16;
  static constexpr std::size_t kMostGraphs = 8;

  [[noreturn]] void refuse_dspark() const;
  void start(const Batch& batch, Profile* profile);
  void choose_mode(const Batch& batch);
  void gather_embeddings(const Batch& batch);
  void send();
  void send_embeddings();
  void deliver_logits();
  std::string name_of(const Machine& m, std::int32_t experts_here) const;
  std::size_t streams_width() const;  // floats of a token's streams

  std::shared_ptr<const model::Model> model_;
  std::shared_ptr<experts::Experts> experts_;
  std::shared_ptr<DeviceMemory> memory_;
  std::string identity_;
  kv::Layout layout_, draft_layout_;
  Stream stream_;
  Upload upload_;
  DeviceWeights weights_;
  DeviceExperts device_experts_;
  std::unique_ptr<HostExperts> host_experts_;
  Workspace workspace_;
  RunData data_;
  Exchange exchange_;
  PinnedBuffer logits_;
  Pass pass_;

  const Batch* all_ = nullptr;  // of this run
  Mode mode_ = Mode::kDirect;
  Key key_;
  std::optional<Capture> capture_;
  std::map<Key, Graph> graphs_;  // an empty graph: the shape was met once
  std::vector<kv::Lease> leases_;
  std::vector<LogitsRow> pending_;  // logits on their way
  std::int64_t head_count_ = 0;
};

}  // namespace v4i::forward::cuda
