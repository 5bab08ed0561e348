// Vocab: token ids <-> the bytes they stand for.
//
// Bytes live in one arena.  Only tokens that byte-level BPE can produce are found by
// their bytes; added tokens (special tokens) have bytes but are never found here, which
// is what keeps user text from becoming one.
//
// Built once, then immutable; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace v4i::tokenizer {

class Vocab {
 public:
  static constexpr std::int32_t kMaxId = (1 << 22) - 1;  // 32 times the published vocabularies

  // REQUIRES: 0 <= id <= kMaxId, not yet used.
  void add(std::int32_t id, std::string_view bytes, bool searchable);
  // After the last add().
  void build_index();

  // One more than the largest id.  Ids in between may be unused: has() is false.
  std::int32_t size() const { return static_cast<std::int32_t>(entries_.size()); }
  bool has(std::int32_t id) const { return id >= 0 && id < size() && entries_[id].used; }
  bool searchable(std::int32_t id) const { return has(id) && entries_[id].searchable; }
  // Empty for unused ids.
  std::string_view bytes(std::int32_t id) const {
    const Entry& e = entries_[id];
    return std::string_view(arena_).substr(e.begin, e.size);
  }
  // -1 when there is none.
  std::int32_t find(std::string_view bytes) const;

 private:
  struct Entry {
    std::uint32_t begin = 0, size = 0;
    bool used = false, searchable = false;
  };
  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<std::int32_t> slots_;  // open addressing, a power of two, -1 is free
};

}  // namespace v4i::tokenizer
