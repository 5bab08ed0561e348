// Chat parsing: what a model wrote -> reasoning, content, tool calls.
//
// The prompt ended with <think> or </think>, so the text begins inside the reasoning or
// inside the content.  Grammar: spec section 5.3, tag names by family (chat.h).
//
//   reasoning "</think>" content ["\n\n<|DSML|tool_calls>" calls "</|DSML|tool_calls>"] [EOS]
//
// Strict mode throws Error(kFormat) where the published parsers do.  Tolerant mode, for
// production, goes on instead and says in problem() what was wrong first:
// - a tool block inside the reasoning ends the reasoning (models do that);
// - a tool block need not follow a blank line, and white space between its tags is free;
// - text that ends in the middle of anything is fine; of a tool block that is broken or
//   cut off, the calls that were complete count and the rest is content, so that
//   nothing the model wrote is lost;
// - what follows a tool block is content; what follows EOS is dropped.
// In both modes a parameter marked string="false" that is not JSON becomes a JSON string,
// so that arguments are always JSON.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/tokenizer/chat.h"

namespace v4i::tokenizer {

struct ChatEvent {
  enum class Kind : std::uint8_t { kReasoning, kContent, kToolCall };
  Kind kind;
  std::string text;       // kReasoning, kContent: the next piece; kToolCall: the tool's name
  std::string arguments;  // kToolCall: a JSON object
};

struct ParseOptions {
  ChatFamily family = ChatFamily::kV4_0731;
  bool thinking = false;  // the prompt ended with <think>
  bool strict = false;
};

class ChatParser {
 public:
  explicit ChatParser(const ParseOptions& options);

  // `text` is any piece of the output, valid UTF-8 (Utf8Stream sees to that).  Appends
  // what is certain; the beginning of a tag is held back until it is one or is not.
  void push(std::string_view text, std::vector<ChatEvent>& events);
  // The output has ended.  Nothing may follow.
  void flush(std::vector<ChatEvent>& events);

  // Tolerant mode: the first thing that was not as trained; empty when all was well.
  const std::string& problem() const { return problem_; }

 private:
  enum class State : std::uint8_t {
    kReasoning,
    kContent,
    kBlock,       // in a tool block, between calls
    kInvoke,      // after <invoke, up to its first parameter
    kValue,       // inside a parameter
    kParameters,  // between parameters
    kAfter,       // after the tool block
    kDone,        // after EOS
  };
  struct Match {
    std::size_t begin, end;
    const std::string* pattern;
  };

  void run(std::vector<ChatEvent>& events);
  // Each does one step; false: more text is needed.
  bool step(std::vector<ChatEvent>& events);
  bool prose(std::vector<ChatEvent>& events);
  bool block(std::vector<ChatEvent>& events);
  bool invoke(std::vector<ChatEvent>& events);
  bool value(std::vector<ChatEvent>& events);
  bool parameters(std::vector<ChatEvent>& events);
  bool after();

  bool find(const std::vector<const std::string*>& patterns, Match& m);
  std::size_t certain(const std::vector<const std::string*>& patterns) const;
  bool gap_ok(std::string_view gap) const;
  void enter(State state, std::size_t at);
  void emit(std::size_t end, std::vector<ChatEvent>& events);
  bool add_parameter(std::string_view text);
  void finish_call(std::vector<ChatEvent>& events);
  void wrong(std::string what);
  bool broken(std::string what, std::vector<ChatEvent>& events);

  ParseOptions options_;
  State state_;
  bool final_ = false;  // no more text will come
  std::string text_;
  std::size_t kept_ = 0;      // text_ before this has become events
  std::size_t at_ = 0;        // text_ before this is understood; kept_ <= at_
  std::size_t searched_ = 0;  // no wanted pattern begins in [at_, searched_)
  std::string name_, arguments_;
  std::vector<std::string> parameters_;  // names of this call
  std::string problem_;
  std::string eos_, bos_, think_, end_think_, dsml_;
  std::string calls_open_, spaced_calls_open_, calls_close_;
  std::string invoke_open_, invoke_close_, parameter_open_, parameter_close_;
};

struct ParsedChat {
  std::string reasoning, content;
  std::vector<ChatEvent> tool_calls;
  std::string problem;
};

// The whole output at once.  Bytes that are not UTF-8 become U+FFFD.
ParsedChat parse_chat(std::string_view text, const ParseOptions& options);

// {"reasoning": "...", "content": "...", "tool_calls": [{"name": "...", "arguments": "..."}]}
// where arguments is JSON text, as in the OpenAI API.
std::string to_json(const ParsedChat& chat);

}  // namespace v4i::tokenizer
