// The index of a sharded checkpoint: which file holds which tensor.
//
//   {"metadata": {"total_size": N}, "weight_map": {"tensor name": "file", ...}}
//
// Only weight_map is used.  File names are checked to be plain ones, because a
// name such as "../../secret" must not leave the model's folder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace v4i::loader {

struct ShardIndex {
  struct Entry {
    std::string tensor;  // normalised
    std::uint32_t shard = 0;
  };
  std::vector<std::string> shards;  // file names, sorted
  std::vector<Entry> entries;       // sorted by tensor, no doubles
};

// `path` is for messages.  Error(kFormat), one sentence.
ShardIndex parse_shard_index(std::string_view json, const std::string& path);

}  // namespace v4i::loader
