// Model: an opened checkpoint, immutable, shared by sessions and threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/cancel.h"
#include "lib/base/hash.h"
#include "lib/loader/checkpoint.h"
#include "lib/model/config.h"
#include "lib/model/plan.h"
#include "lib/model/scan.h"
#include "lib/model/weights.h"

namespace v4i {
class ThreadPool;
}

namespace v4i::model {

class Model {
 public:
  // `path` is a folder (config.json + *.safetensors, with or without an index) or
  // a single .safetensors file with config.json beside it.
  static std::shared_ptr<const Model> open(const std::string& path);

  const std::string& path() const { return path_; }
  const Config& config() const { return config_; }
  const Plan& plan() const { return plan_; }
  const Weights& weights() const { return weights_; }
  const loader::Checkpoint& checkpoint() const { return *checkpoint_; }
  // Layer `layer` of the model, and behind these its draft stages (MTP's block, or DSpark's).
  const Block& block(int layer) const {
    const auto l = static_cast<std::size_t>(layer);
    const std::size_t own = weights_.layers.size();
    if (l < own) return weights_.layers[l];
    return has_dspark() ? weights_.dspark.stages[l - own] : weights_.mtp[l - own].block;
  }
  int blocks() const {
    return static_cast<int>(weights_.layers.size() + weights_.mtp.size() +
                            weights_.dspark.stages.size());
  }
  bool has_dspark() const { return !weights_.dspark.stages.empty(); }
  bool has_drafts() const { return has_dspark() || !weights_.mtp.empty(); }

  // Names this checkpoint: SHA-256 of the config's numbers, the tensor directory
  // (names, dtypes, shapes) and the bytes of the small tensors.  Keys KV blocks
  // and saved sessions.
  const Digest& digest() const { return digest_; }
  std::uint64_t parameters() const { return parameters_; }  // logical: an fp4 byte is two
  std::uint64_t tensor_bytes() const;

  // First-touch checks.  NaN codes in weights or scales would turn text into
  // garbage silently; so the bytes are checked once, in their first use, and
  // refused with the tensor's name (kFormat).  Any thread.
  //
  // The forward pass checks a piece of a matrix when it multiplies it, so that the bytes
  // are read from memory once; what was checked is remembered row by row, and nobody has to say
  // when a matrix is done.
  bool passed(const Weight& w) const { return checked_.all(w.tensor); }  // one load
  void check_rows(const Weight& w, std::int64_t begin, std::int64_t end) const;
  // Their products were all numbers, which they are of no other rows (kernels/linear.h): as good
  // as check_rows(), without reading them.
  void trust_rows(const Weight& w, std::int64_t begin, std::int64_t end) const;
  // The embedding rows of these tokens, each in [0, vocab); a few kilobytes per token,
  // scanned every time.
  void touch_embedding(const std::int32_t* tokens, int count) const;
  // For those who want to know now.
  void touch_experts(int layer, const std::int32_t* experts, int count, ThreadPool& pool) const;
  void touch_mtp_experts(const std::int32_t* experts, int count, ThreadPool& pool) const;
  void touch_layer(int layer, ThreadPool& pool) const;  // all but the routed experts
  void touch_head(ThreadPool& pool) const;              // head, hc_head
  void touch_mtp(ThreadPool& pool) const;               // the MTP block but its experts
  void touch_dspark(ThreadPool& pool) const;            // DSpark's stages with their experts
  // Every byte the forward pass may read.  `before_layer` is called with the number
  // of layers that are done, and at the end; it may throw.
  void touch_all(ThreadPool& pool, const std::function<void(int)>& before_layer = {}) const;

 private:
  Model() = default;
  void touch_block_experts(const Block& block, const std::int32_t* experts, int count,
                           ThreadPool& pool) const;

  std::string path_;
  Config config_;
  Plan plan_;
  std::unique_ptr<loader::Checkpoint> checkpoint_;
  Weights weights_;
  Digest digest_{};
  std::uint64_t parameters_ = 0;
  mutable CheckedRows checked_;
};

}  // namespace v4i::model
