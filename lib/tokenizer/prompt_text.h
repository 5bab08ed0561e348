// PromptText: a prompt being written, remembering which bytes the template wrote.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/tokenizer/added_tokens.h"

namespace v4i::tokenizer {

class PromptText {
 public:
  explicit PromptText(bool trust_content) : trust_content_(trust_content) {}

  // Template text: special tokens in it are meant.
  void literal(std::string_view s) {
    if (s.empty()) return;
    if (trusted_.empty() || trusted_.back().end != text_.size())
      trusted_.push_back({text_.size(), text_.size()});
    text_.append(s);
    trusted_.back().end = text_.size();
  }
  // One special token, which the tokenizer must have.
  void special(const char* token) {
    literal(token);
    specials_.push_back(token);
  }
  // Text from outside.
  void content(std::string_view s) {
    if (trust_content_)
      literal(s);
    else
      text_.append(s);
  }

  const std::string& text() const { return text_; }
  const std::vector<Range>& trusted() const { return trusted_; }
  const std::vector<const char*>& specials() const { return specials_; }

 private:
  std::string text_;
  std::vector<Range> trusted_;
  std::vector<const char*> specials_;
  bool trust_content_;
};

}  // namespace v4i::tokenizer
