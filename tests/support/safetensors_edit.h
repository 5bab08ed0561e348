// Safetensors files in memory, to be changed and written again: how tests make
// re-sharded, renamed, re-typed and damaged checkpoints.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace v4i::test {

struct StTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

using StFile = std::map<std::string, StTensor>;

StFile read_safetensors(const std::string& path);
void write_safetensors(const std::string& path, const StFile& file);

// The 8 length bytes and `header`, then `data`: for headers no writer would write.
std::string safetensors_bytes(const std::string& header, const std::string& data);

// model.safetensors.index.json for shards already written; files maps name -> tensors.
void write_index(const std::string& folder, const std::map<std::string, StFile>& files);

// Sets, or removes when `value` is empty, one key of folder/config.json.  `value` is JSON.
void edit_config(const std::string& folder, const std::string& key, const std::string& value);

}  // namespace v4i::test
