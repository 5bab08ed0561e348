// AddedTokens: tokens that are cut out of the text before it is split into words.
//
// Two passes as in Hugging Face: tokens marked normalized=false first, then the others
// in what is left.  Within a pass the leftmost match wins, and of those the longest.
// Only ranges the caller trusts are searched; elsewhere "<think>" is seven characters.
//
// Built once, then immutable; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace v4i::tokenizer {

struct Range {
  std::size_t begin, end;
};

struct AddedToken {
  std::string text;
  std::int32_t id = -1;
  bool special = false;
  bool normalized = false;
};

class AddedTokens {
 public:
  static constexpr std::size_t kMaxBytes = 1024;  // per token; keeps a search linear

  struct Cut {
    std::size_t begin, end;
    std::int32_t id;
  };

  // REQUIRES: texts are distinct, not empty, at most kMaxBytes.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  const std::vector<AddedToken>& all() const { return tokens_; }
  std::int32_t find(std::string_view text) const;  // id, or -1
  bool is_special(std::int32_t id) const;

  // Cuts inside `trusted` (ascending, disjoint ranges of `text`), ascending.
  std::vector<Cut> cut(std::string_view text, const std::vector<Range>& trusted) const;

 private:
  // Indices into tokens_, sorted by text, and where each first byte begins.
  struct Pass {
    std::vector<std::uint32_t> order;
    std::array<std::uint32_t, 257> first{};
  };
  Pass make_pass(bool normalized) const;
  // The longest token of `pass` that `text` begins with, or nullptr.
  const AddedToken* longest(const Pass& pass, std::string_view text) const;
  void cut_range(const Pass& pass, std::string_view text, Range range, std::vector<Cut>& out) const;

  std::vector<AddedToken> tokens_;     // sorted by text
  std::vector<std::int32_t> special_;  // ids, ascending
  Pass raw_, normalized_;
};

}  // namespace v4i::tokenizer
