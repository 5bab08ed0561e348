// ChatRenderer: message by message.  Tool schemas and calls are in chat_tools.cc.
#include "lib/tokenizer/chat_renderer.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/tokenizer/chat_constants.h"

namespace v4i::tokenizer {
namespace {

constexpr char kSystemToken[] = "<\xef\xbd\x9cSystem\xef\xbd\x9c>";
constexpr char kReminderToken[] = "<\xef\xbd\x9clatest_reminder\xef\xbd\x9c>";
constexpr char kImageToken[] =
    "<\xef\xbd\x9c"
    "deepseek_image\xef\xbd\x9c>";
struct TaskToken {
  const char* task;
  const char* token;
};
constexpr TaskToken kTaskTokens[] = {
    {"action",
     "<\xef\xbd\x9c"
     "action\xef\xbd\x9c>"},
    {"query", "<\xef\xbd\x9cquery\xef\xbd\x9c>"},
    {"authority",
     "<\xef\xbd\x9c"
     "authority\xef\xbd\x9c>"},
    {"domain",
     "<\xef\xbd\x9c"
     "domain\xef\xbd\x9c>"},
    {"title", "<\xef\xbd\x9ctitle\xef\xbd\x9c>"},
    {"read_url", "<\xef\xbd\x9cread_url\xef\xbd\x9c>"},
};

}  // namespace

std::int32_t image_placeholder(const Tokenizer& tokenizer) {
  return tokenizer.find_special(kImageToken);
}

ChatRenderer::ChatRenderer(std::vector<Message> messages, const ChatOptions& options)
    : out(options.trust_content),
      messages_(std::move(messages)),
      options_(options),
      tags_(dsml_tags(options.family)) {
  drop_ = options.drop_thinking && std::none_of(messages_.begin(), messages_.end(),
                                                [](const Message& m) { return !m.tools.empty(); });
  for (const Message& m : messages_) check(m);
  if (options.thinking && drop_) drop_old_reasoning();
  last_user_ = last_user_turn();
}

bool ChatRenderer::is_user_turn(std::size_t i) const {
  const Role r = messages_[i].role;
  if (v41()) return r == Role::kUser || (r == Role::kSystem && i > 0);
  return r == Role::kUser || r == Role::kDeveloper;
}

std::ptrdiff_t ChatRenderer::last_user_turn() const {
  auto i = static_cast<std::ptrdiff_t>(messages_.size()) - 1;
  while (i >= 0 && !is_user_turn(static_cast<std::size_t>(i))) --i;
  return i;
}

// Before the last user turn: no reasoning, and no developer messages at all.
void ChatRenderer::drop_old_reasoning() {
  const std::ptrdiff_t last = last_user_turn();
  std::vector<Message> kept;
  for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(messages_.size()); ++i) {
    Message& m = messages_[static_cast<std::size_t>(i)];
    if (i < last && m.role == Role::kDeveloper) continue;
    if (i < last) m.reasoning.clear();
    kept.push_back(std::move(m));
  }
  messages_ = std::move(kept);
}

void ChatRenderer::check(const Message& m) const {
  if (m.role == Role::kDeveloper && v41())
    fail(Code::kInvalid, "V4.1 has no developer messages; use a system message");
  if (m.role == Role::kDeveloper && m.content.empty())
    fail(Code::kInvalid, "a developer message is empty");
  if (!v41()) return;
  check_no_placeholder(m.content);
  check_no_placeholder(m.reasoning);
  for (const ContentBlock& b : m.blocks)
    for (const ContentPart& p : b.parts) check_no_placeholder(p.text);
}

void ChatRenderer::check_no_placeholder(std::string_view text) const {
  if (text.find(kImageToken) != std::string_view::npos)
    fail(Code::kInvalid,
         "a message holds the text of the image placeholder; images are parts of "
         "their own");
}

std::string ChatRenderer::effort_text() const {
  if (!options_.thinking) return {};
  if (v41()) {
    int n = options_.effort_number;
    if (options_.effort != Effort::kNumber)
      n = options_.effort == Effort::kLow ? 50 : options_.effort == Effort::kMax ? 100 : 75;
    if (n < 1 || n > 100) fail(Code::kInvalid, "reasoning effort is {}, wanted 1 to 100", n);
    return fmt::format(
        "Reasoning Effort: {} (range 1-100, the higher the value, the more thorough the "
        "reasoning)\n\n",
        n);
  }
  if (options_.effort == Effort::kNumber)
    fail(Code::kInvalid,
         "V4 knows the reasoning efforts low, high and max; numbers came with V4.1");
  const bool preview = options_.family == ChatFamily::kV4Preview;
  if (options_.effort == Effort::kMax)
    return preview ? kEffortAbsoluteMaximum : kEffortBeyondMaximum;
  if (options_.effort == Effort::kHigh && !preview) return kEffortAbsoluteMaximum;
  return {};
}

void ChatRenderer::render() {
  if (options_.add_bos) out.special(kBosToken);
  const std::string effort = effort_text();
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    if (i == 0) {
      if (v41() && (!effort.empty() || messages_[0].role == Role::kSystem))
        out.special(kSystemToken);
      out.literal(effort);
    }
    message(i);
    transition(i);
  }
}

void ChatRenderer::message(std::size_t i) {
  const Message& m = messages_[i];
  switch (m.role) {
    case Role::kSystem:
      if (v41() && i > 0) out.special(kSystemToken);
      out.content(m.content);
      tools_and_format(m);
      return;
    case Role::kDeveloper:
      out.special(kUserToken);
      out.content(m.content);
      tools_and_format(m);
      return;
    case Role::kUser:
      out.special(kUserToken);
      user_blocks(m);
      return;
    case Role::kLatestReminder:
      out.special(kReminderToken);
      out.content(m.content);
      return;
    case Role::kAssistant:
      assistant(i);
      return;
    case Role::kTool:
      V4I_CHECK(false);  // merge_turns() made them user turns
  }
}

void ChatRenderer::user_blocks(const Message& m) {
  for (std::size_t b = 0; b < m.blocks.size(); ++b) {
    const ContentBlock& block = m.blocks[b];
    if (b > 0) out.literal("\n\n");
    if (block.tool_result) out.literal("<tool_result>");
    for (std::size_t p = 0; p < block.parts.size(); ++p) {
      if (p > 0) out.literal("\n\n");
      if (!block.parts[p].image) {
        out.content(block.parts[p].text);
        continue;
      }
      images.push_back(block.parts[p].number);
      if (v41())
        out.special(kImageToken);
      else
        out.literal("[Unsupported image]");
    }
    if (block.tool_result) out.literal("</tool_result>");
  }
}

void ChatRenderer::assistant(std::size_t i) {
  const Message& m = messages_[i];
  const bool answers_task = i > 0 && !messages_[i - 1].task.empty();
  const bool current = static_cast<std::ptrdiff_t>(i) > last_user_;
  if (options_.thinking && !answers_task && (!drop_ || current)) {
    out.content(m.reasoning);
    out.special(kEndThinkToken);
  }
  out.content(m.content);
  if (!m.tool_calls.empty()) tool_calls(m);
  if (!m.without_eos) out.special(kEosToken);
}

void ChatRenderer::header(bool think) {
  out.special(kAssistantToken);
  out.special(think ? kThinkToken : kEndThinkToken);
}

// What stands between message i and the next one, or the model's answer.
void ChatRenderer::transition(std::size_t i) {
  const bool last = i + 1 == messages_.size();
  const Role next = last ? Role::kAssistant : messages_[i + 1].role;
  if (next != Role::kAssistant && next != Role::kLatestReminder) return;
  const Message& m = messages_[i];
  if (!m.task.empty()) {
    if (m.task == "action") header(options_.thinking);
    for (const TaskToken& t : kTaskTokens)
      if (m.task == t.task) out.special(t.token);
    return;
  }
  if (last && !options_.open_assistant) return;
  if (is_user_turn(i)) {
    header(options_.thinking && (!drop_ || static_cast<std::ptrdiff_t>(i) >= last_user_));
  } else if (last && (m.role == Role::kSystem || (m.role == Role::kAssistant && !m.without_eos))) {
    header(options_.thinking);  // the published encoders never answer here
  }
}

}  // namespace v4i::tokenizer
