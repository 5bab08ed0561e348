// Checkpoint: many safetensors shards as one directory of tensors.
//
//   folder/model.safetensors.index.json + shards, folder/model.safetensors,
//   folder/*.safetensors without an index, or one file.
//
// Opening reads headers only (JSON, checked byte by byte as hostile input) and
// maps the shards; tensor bytes are paged in by whoever reads them.  Names are
// normalised to the official ones (spec 1.4): prefix "model." dropped, self_attn
// -> attn, mlp -> ffn, weight_scale_inv -> scale, e_score_correction_bias -> bias,
// lm_head -> head, embed_tokens -> embed.
//
// Immutable after construction; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/tensor/tensor.h"

namespace v4i::loader {

struct TensorInfo {
  std::string name;  // normalised
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::uint32_t shard = 0;
  std::uint64_t begin = 0, end = 0;  // byte range in the shard file, checked
};

// Bytes of a shard file.
struct FileRange {
  std::uint32_t shard = 0;
  std::uint64_t begin = 0, bytes = 0;
};

// Where config.json lies: `path` when it is a folder, else the folder of the file.
std::string model_folder(const std::string& path);

class Checkpoint {
 public:
  // Error(kIo): missing or unreadable; kFormat: one sentence naming shard and tensor.
  static std::unique_ptr<Checkpoint> open(const std::string& path);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // sorted by name
  // Index into tensors(), or -1.
  std::int32_t find(std::string_view name) const;
  TensorView view(const TensorInfo& t) const;
  // Which bytes of which file these are; `data` points into a view.
  FileRange range_of(const void* data, std::uint64_t bytes) const;
  const std::string& shard_path(const TensorInfo& t) const { return shard_path(t.shard); }
  const std::string& shard_path(std::uint32_t shard) const { return shards_[shard].path(); }
  std::uint64_t shard_bytes(std::uint32_t shard) const { return shards_[shard].bytes().size(); }
  std::size_t shard_count() const { return shards_.size(); }
  std::uint64_t tensor_bytes() const { return tensor_bytes_; }
  std::uint64_t file_bytes() const;
  // Hints for reading little of much: see MappedFile.
  void expect_random_access(bool on) const;
  void prefetch(const TensorInfo& t, std::uint64_t bytes) const;  // the first `bytes` of it
  const std::string& folder() const { return folder_; }           // model_folder(path)

 private:
  Checkpoint() = default;
  std::string folder_;
  std::vector<MappedFile> shards_;
  std::vector<std::uint32_t> by_address_;  // shards, in the order of their mappings
  std::vector<TensorInfo> tensors_;
  std::uint64_t tensor_bytes_ = 0;
};

}  // namespace v4i::loader
