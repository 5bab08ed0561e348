// RunData: what the device has to know of a run, written on the host and copied at once or layer by
// layer: tokens, sequences, where their KV blocks lie.
//
// The arrays lie at places that depend only on how many tokens and sequences there are and on
// `bound`, so that a captured graph finds them there at every step.
//
// One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cuda/types.h"
#include "lib/forward/batch.h"
#include "lib/forward/cuda/device.h"
#include "lib/forward/executor.h"
#include "lib/kv/layout.h"

namespace v4i::forward::cuda {

// What decides where the arrays lie and how many blocks kernels are started with.
struct RunShape {
  std::int64_t tokens = 0, sequences = 0;
  std::int64_t bound = 0;  // at least every token's position + 1: a power of two, or the context
  auto operator<=>(const RunShape&) const = default;
};

class RunData {
 public:
  RunData(std::shared_ptr<Device> device, Budget& budget, const model::Config& config,
          std::int64_t max_tokens, std::int64_t head_tokens);

  // A run begins: places are decided, tokens and sequences are written.  True when the arrays
  // moved: graphs that were captured before are of no use any more.
  bool begin(const Batch& batch, const kv::Layout& layout);
  const RunShape& shape() const { return shape_; }

  // Tokens that have outputs, in a place of their own.
  void set_outputs(const Batch& out);
  // Of `layer`, whose rows are in memory: the blocks of its rows and keys.
  void set_blocks(const Batch& batch, int layer);
  void set_head(std::int64_t first, std::span<const LogitsRow> rows);  // rows of one call
  float* embedding(std::int64_t token);                                // where it lies

  // To the device: everything, or one part.
  void send_all(const Stream& stream);
  void send_tokens(const Stream& stream);
  void send_outputs(const Stream& stream);
  void send_blocks(const Stream& stream, int layer);
  void send_head(const Stream& stream);
  void send_embeddings(const Stream& stream, float* to);

  // On the device.
  const kernels::cuda::Token* tokens() const { return at<kernels::cuda::Token>(0); }
  const kernels::cuda::Token* outputs() const { return at<kernels::cuda::Token>(outputs_at_); }
  const kernels::cuda::Sequence* sequences() const {
    return at<kernels::cuda::Sequence>(sequences_at_);
  }
  const std::int32_t* head_rows() const { return at<std::int32_t>(head_at_); }
  kernels::cuda::BlockTable blocks(int layer, bool index) const;
  // The most compressed rows that a token of this shape sees.
  std::int64_t rows_bound(int ratio) const { return ratio == 0 ? 0 : shape_.bound / ratio; }

 private:
  struct Table {         // of one kind of row of a layer
    std::size_t at = 0;  // first [sequences], then the blocks' addresses
    std::size_t blocks_at = 0;
    std::int64_t capacity = 0;  // blocks of a sequence
    std::size_t end = 0;
  };
  template <class T>
  const T* at(std::size_t offset) const {
    return reinterpret_cast<const T*>(device_bytes_.data() + offset);
  }
  template <class T>
  T* host(std::size_t offset) {
    return reinterpret_cast<T*>(host_bytes_.host() + offset);
  }
  void send(const Stream& stream, std::size_t begin, std::size_t end);
  std::size_t place_tables();
  Table& table(int layer, bool index) {
    return tables_[static_cast<std::size_t>(layer) * 2 + (index ? 1 : 0)];
  }
  void fill_table(Table& t, const Batch& batch, int layer, bool index);

  std::shared_ptr<Device> device_;
  Budget& budget_;
  const model::Config& config_;
  const kv::Layout* layout_ = nullptr;  // of this run
  RunShape shape_;
  std::size_t outputs_at_ = 0, sequences_at_ = 0, head_at_ = 0, tables_at_ = 0;
  std::size_t head_tokens_ = 0, end_ = 0;
  std::vector<Table> tables_;
  PinnedBuffer host_bytes_, embeddings_;
  DeviceBuffer device_bytes_;
};

}  // namespace v4i::forward::cuda
