// ChatRenderer: writes one conversation as the prompt of a family.  Used by chat.cc only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/tokenizer/chat.h"
#include "lib/tokenizer/prompt_text.h"

namespace v4i::tokenizer {

// REQUIRES: the messages are merged and sorted (chat_turns.h).
class ChatRenderer {
 public:
  ChatRenderer(std::vector<Message> messages, const ChatOptions& options);
  void render();

  PromptText out;
  std::vector<std::uint32_t> images;  // numbers of those written

 private:
  bool v41() const { return options_.family == ChatFamily::kV41; }
  // Does message i count as a turn of the user?
  bool is_user_turn(std::size_t i) const;
  std::ptrdiff_t last_user_turn() const;
  void drop_old_reasoning();
  void check(const Message& m) const;
  void check_no_placeholder(std::string_view text) const;
  std::string effort_text() const;
  void message(std::size_t i);
  void user_blocks(const Message& m);
  void tools_and_format(const Message& m);
  void assistant(std::size_t i);
  void tool_calls(const Message& m);
  void arguments(const ToolCall& call);
  void tag(const char* open, const char* name);
  void transition(std::size_t i);
  void header(bool think);

  std::vector<Message> messages_;
  const ChatOptions& options_;
  DsmlTags tags_;
  bool drop_ = false;
  std::ptrdiff_t last_user_ = -1;
};

}  // namespace v4i::tokenizer
