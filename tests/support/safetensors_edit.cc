// Reads and writes whole safetensors files; see safetensors_edit.h.
#include "tests/support/safetensors_edit.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/support/tiny_model.h"

namespace v4i::test {

using nlohmann::json;

StFile read_safetensors(const std::string& path) {
  const std::string all = read_file(path);
  std::uint64_t n = 0;
  std::memcpy(&n, all.data(), 8);
  StFile out;
  const json header = json::parse(all.substr(8, n));
  for (const auto& [name, t] : header.items()) {
    if (name == "__metadata__") continue;
    const std::uint64_t begin = t["data_offsets"][0], end = t["data_offsets"][1];
    out[name] = {t["dtype"], t["shape"], all.substr(8 + n + begin, end - begin)};
  }
  return out;
}

std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  const std::uint64_t n = header.size();
  std::memcpy(out.data(), &n, 8);
  return out + header + data;
}

void write_safetensors(const std::string& path, const StFile& file) {
  json header = json::object();
  std::string data;
  for (const auto& [name, t] : file) {
    header[name] = {{"dtype", t.dtype},
                    {"shape", t.shape},
                    {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  write_file(path, safetensors_bytes(header.dump(), data));
}

void write_index(const std::string& folder, const std::map<std::string, StFile>& files) {
  json map = json::object();
  std::uint64_t total = 0;
  for (const auto& [file, tensors] : files)
    for (const auto& [name, t] : tensors) {
      map[name] = file;
      total += t.bytes.size();
    }
  const json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_file(folder + "/model.safetensors.index.json", index.dump());
}

void edit_config(const std::string& folder, const std::string& key, const std::string& value) {
  json config = json::parse(read_file(folder + "/config.json"));
  config.erase(key);
  if (!value.empty()) config[key] = json::parse(value);
  write_file(folder + "/config.json", config.dump(1));
}

}  // namespace v4i::test
