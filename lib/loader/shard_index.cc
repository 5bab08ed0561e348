// model.safetensors.index.json, read as hostile input; see shard_index.h.
#include "lib/loader/shard_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "lib/base/error.h"
#include "lib/loader/names.h"

namespace v4i::loader {

namespace {

using nlohmann::json;

// Keeps weight_map's pairs and walks over everything else.
class IndexReader : public json::json_sax_t {
 public:
  explicit IndexReader(const std::string& path) : path_(path) {}

  ShardIndex index;

  void finish() {
    if (!found_map_) fail(Code::kFormat, "{}: weight_map is missing", path_);
    sort_shards();
    auto& entries = index.entries;
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
    const auto twice =
        std::adjacent_find(entries.begin(), entries.end(),
                           [](const auto& a, const auto& b) { return a.tensor == b.tensor; });
    if (twice != entries.end())
      fail(Code::kFormat, "{}: weight_map names tensor {} twice", path_, printable(twice->tensor));
  }

  bool start_object(std::size_t) override {
    if (in_map()) bad_map_value("an object");
    if (depth_ == 1 && key_ == "weight_map") {
      if (std::exchange(found_map_, true))
        fail(Code::kFormat, "{}: weight_map is given twice", path_);
      map_open_ = true;
    }
    return enter();
  }
  bool key(std::string& k) override {
    key_ = std::move(k);
    return true;
  }
  bool end_object() override {
    if (in_map()) map_open_ = false;
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return scalar("an array") && enter(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool string(std::string& s) override { return in_map() ? add(s) : scalar("a string"); }
  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(std::int64_t) override { return scalar("a number"); }
  bool number_unsigned(std::uint64_t) override { return scalar("a number"); }
  bool number_float(double, const std::string&) override { return scalar("a number"); }
  bool binary(json::binary_t&) override { return scalar("binary data"); }
  bool parse_error(std::size_t at, const std::string&, const json::exception&) override {
    fail(Code::kFormat, "{}: not JSON at byte {}", path_, at);
  }

 private:
  bool in_map() const { return map_open_ && depth_ == 2; }

  bool enter() {
    constexpr int kMaxDepth = 32;
    if (++depth_ > kMaxDepth)
      fail(Code::kFormat, "{}: nested deeper than {} levels", path_, kMaxDepth);
    return true;
  }

  [[noreturn]] void bad_map_value(const char* found) const {
    fail(Code::kFormat, "{}: weight_map: tensor {} has {}, expected a file name", path_,
         printable(key_), found);
  }

  // A value that is none of ours, unless it stands where a file name should.
  bool scalar(const char* found) {
    if (in_map()) bad_map_value(found);
    if (depth_ == 0 || (depth_ == 1 && key_ == "weight_map"))
      fail(Code::kFormat, "{}: found {}, expected an object with weight_map", path_, found);
    return true;
  }

  bool add(const std::string& file) {
    if (!is_plain_file_name(file))
      fail(Code::kFormat, "{}: weight_map: tensor {} lies in \"{}\", expected a plain file name",
           path_, printable(key_), printable(file));
    const auto [it, fresh] =
        shard_of_.try_emplace(file, static_cast<std::uint32_t>(index.shards.size()));
    if (fresh) index.shards.push_back(file);
    index.entries.push_back({normalise_name(key_), it->second});
    return true;
  }

  void sort_shards() {
    std::vector<std::string> sorted = index.shards;
    std::sort(sorted.begin(), sorted.end());
    std::vector<std::uint32_t> moved(sorted.size());
    for (std::uint32_t i = 0; i < sorted.size(); ++i) moved[shard_of_.at(sorted[i])] = i;
    for (auto& e : index.entries) e.shard = moved[e.shard];
    index.shards = std::move(sorted);
  }

  const std::string& path_;
  std::string key_;
  int depth_ = 0;
  bool map_open_ = false, found_map_ = false;
  std::unordered_map<std::string, std::uint32_t> shard_of_;
};

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& path) {
  IndexReader reader(path);
  json::sax_parse(text.begin(), text.end(), &reader);
  reader.finish();
  return std::move(reader.index);
}

}  // namespace v4i::loader
