// ClassMap: token id -> class, which is what Engram's hashes are made of.  Spec: engram.md 2.
//
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/model/config.h"

namespace v4i::engram {

class ClassMap {
 public:
  // One class for each id of config.vocab; `name` is where they are from, for messages.
  // Error(kFormat): another count of ids, or classes that are not 0 to
  // engram_compressed_vocab_size - 1, all of them in use.
  ClassMap(std::vector<std::int32_t> classes, const model::Config& config, const std::string& name);

  // From engram_token_map.json in `folder`, a list of integers; whether there is one.
  static bool has_file(const std::string& folder);
  static ClassMap from_file(const std::string& folder, const model::Config& config);

  std::int32_t of(std::int32_t id) const { return classes_[static_cast<std::size_t>(id)]; }
  std::int32_t ids() const { return static_cast<std::int32_t>(classes_.size()); }
  std::int32_t count() const { return count_; }
  // Stands for what is before the first token: the class of engram_pad_token_id.
  std::int32_t pad() const { return pad_; }

 private:
  std::vector<std::int32_t> classes_;
  std::int32_t count_, pad_;
};

}  // namespace v4i::engram
