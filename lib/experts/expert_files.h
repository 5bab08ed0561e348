// ExpertFiles: where each expert lies in the shards, and how its bytes lie in a slot.
//
// Nothing is converted: a slot holds bytes of the files.  Direct reads need addresses, offsets and
// sizes in multiples of 4096, so what is read are *pieces*: the aligned bytes around a range,
// ranges that are neighbours in one piece.  The official shards have the matrices of an expert side
// by side, and its scales: two pieces of the six ranges.
//
// Immutable; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/model/model.h"
#include "lib/store/read_queue.h"

namespace v4i::experts {

// (layer, id); layers behind the model's own are its draft stages.
struct ExpertId {
  int layer = 0;
  std::int32_t id = 0;
};

class ExpertFiles {
 public:
  static constexpr std::size_t kAlign = 4096;
  static constexpr std::size_t kMostRead = std::size_t{2} << 20;  // bytes of one read
  using Open = std::function<int(const std::string& path)>;

  // Opens the shards that have experts; `open` in place of open(), where it is not empty.
  // Error(kIo) naming the shard.
  explicit ExpertFiles(std::shared_ptr<const model::Model> model, const Open& open = {});
  ~ExpertFiles();
  ExpertFiles(const ExpertFiles&) = delete;
  ExpertFiles& operator=(const ExpertFiles&) = delete;

  const model::Model& model() const { return *model_; }
  int layers() const { return layers_; }
  std::int32_t experts() const { return experts_; }  // of a layer, at most
  std::int32_t experts_of(int layer) const {
    return static_cast<std::int32_t>(model_->block(layer).ffn.experts.size());
  }
  std::size_t count() const { return count_; }  // of all layers
  std::size_t slot_bytes() const { return slot_bytes_; }
  std::size_t most_reads() const { return most_reads_; }  // of one expert

  // Sets up the reads that fill `slot`, which is aligned; returns how many.
  std::size_t plan(ExpertId which, std::byte* slot, std::span<store::ReadRequest> reads) const;
  // The expert in the slot that was filled with it.
  model::Expert view(ExpertId which, const std::byte* slot) const;
  // After the reads of plan() are done.  Error(kIo) naming shard and tensor when one has failed or
  // ended early.
  void check(ExpertId which, std::span<const store::ReadRequest> reads) const;

 private:
  struct Range {
    std::uint32_t shard;
    std::uint64_t begin, end;
    std::int32_t tensor;  // of the matrix
    bool scale;
  };
  struct Piece {
    std::uint32_t shard;
    std::uint64_t begin, end;  // aligned
    std::uint64_t used_end;    // of the last range
    std::size_t at;            // in the slot
  };
  struct Pieces {
    std::array<Piece, 6> piece;
    std::size_t count = 0;
    std::span<const Piece> all() const { return {piece.data(), count}; }
    std::size_t bytes() const;
  };
  const model::Expert& mapped(ExpertId which) const {
    return model_->block(which.layer).ffn.experts[static_cast<std::size_t>(which.id)];
  }
  std::size_t ranges_of(ExpertId which, std::array<Range, 6>& out) const;
  Pieces pieces_of(ExpertId which) const;
  const void* moved(const void* data, std::size_t bytes, const Pieces& pieces,
                    const std::byte* slot) const;
  [[noreturn]] void fail_read(ExpertId which, const Piece& piece, std::uint64_t at,
                              int error) const;
  void open_shard(std::uint32_t shard, const Open& open);
  void close() noexcept;

  std::shared_ptr<const model::Model> model_;
  int layers_;
  std::int32_t experts_;
  std::size_t count_ = 0, slot_bytes_ = 0, most_reads_ = 0;
  std::vector<int> files_;  // of each shard, or -1
};

}  // namespace v4i::experts
