// Chat rendering: a conversation -> the prompt the models were trained on.
//
// Families: V4 (spec section 5.2; the preview and 0731 differ in the effort texts) and
// V4.1 (its spec, section 8).  Text equals the published encoders byte for byte.
//
// Ids come from the whole text, but special tokens are recognised only in what the
// template wrote: a user who types "<|User|>" gets the characters, not the token.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/tokenizer/json_value.h"
#include "lib/tokenizer/tokenizer.h"

namespace v4i::tokenizer {

enum class ChatFamily { kV4Preview, kV4_0731, kV41 };
enum class Role { kSystem, kDeveloper, kUser, kAssistant, kLatestReminder, kTool };
// kDefault: nothing for V4, high for V4.1.  V4.1 turns low, high, max into 50, 75, 100.
enum class Effort { kDefault, kLow, kHigh, kMax, kNumber };

struct ToolCall {
  std::string id;  // what tool results refer to; may be empty
  std::string name;
  JsonValue arguments;  // an object, or a string (JSON text in the usual case)
};

// Part of a message: text, or an image that becomes a placeholder token (V4.1).
struct ContentPart {
  std::string text;
  bool image = false;
  std::uint32_t number = 0;  // of an image, in a conversation: set by render_chat
};

struct ContentBlock {
  std::vector<ContentPart> parts;  // joined by a blank line
  bool tool_result = false;
  std::string tool_call_id;
};

struct Message {
  Role role = Role::kUser;
  std::string content;               // of all roles but user and tool
  std::vector<ContentBlock> blocks;  // of user and tool, joined by a blank line
  std::string reasoning;             // assistant
  std::vector<ToolCall> tool_calls;  // assistant
  std::string task;                  // "", action, query, authority, domain, title, read_url
  bool without_eos = false;          // assistant: the text goes on
  std::vector<JsonValue> tools;      // the "function" objects
  JsonValue response_format;         // null: none
};

struct ChatOptions {
  ChatFamily family = ChatFamily::kV4_0731;
  bool thinking = false;
  Effort effort = Effort::kDefault;  // of thinking mode only
  int effort_number = 0;             // with kNumber, V4.1 only: 1 to 100
  // Leave out the reasoning of earlier turns.  Never done when any message has tools.
  bool drop_thinking = true;
  bool add_bos = true;
  // End with the assistant's header, so that the model answers.  (When the last message
  // is an assistant's without EOS, it is that message which goes on.)
  bool open_assistant = true;
  bool trust_content = false;  // message text may hold special tokens
};

struct RenderedChat {
  std::string text;
  std::vector<std::int32_t> ids;
  // For each image of the prompt, which one of the conversation it is: images are counted from 0
  // by message, and by part within a message.  Tool results are written in the order of their
  // calls, so this need not rise.
  std::vector<std::uint32_t> images;
};

// JSON as of the OpenAI API: an array of messages, or {"messages", "tools",
// "response_format"}; tools and response_format go to the leading system (V4: or
// developer) message, which is made when there is none.  Also understood:
// reasoning_content / reasoning, content and content_blocks as lists, task, wo_eos, and
// tools and response_format of a message.  Error(kFormat): one sentence.
std::vector<Message> parse_messages(std::string_view json);

// Error(kInvalid): a conversation or option the family does not have; kUnsupported: the
// tokenizer lacks a token of the template.
RenderedChat render_chat(const Tokenizer& tokenizer, std::vector<Message> messages,
                         const ChatOptions& options);
RenderedChat render_chat(const Tokenizer& tokenizer, std::string_view json,
                         const ChatOptions& options);

// The id of a placeholder, or -1 where the tokenizer has none.
std::int32_t image_placeholder(const Tokenizer& tokenizer);

// Tag names of tool calls: <|DSML|tool_calls> in V4, <|DSML| calls> in V4.1.
struct DsmlTags {
  const char* calls;
  const char* invoke;
  const char* parameter;
};
DsmlTags dsml_tags(ChatFamily family);

}  // namespace v4i::tokenizer
