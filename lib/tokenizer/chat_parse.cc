// ChatParser: a state per place in the grammar; prose here, tool blocks in chat_parse_tools.cc.
#include "lib/tokenizer/chat_parse.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/tokenizer/utf8.h"

namespace v4i::tokenizer {
namespace {

bool is_white(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

ChatParser::ChatParser(const ParseOptions& options)
    : options_(options),
      state_(options.thinking ? State::kReasoning : State::kContent),
      eos_(kEosToken),
      bos_(kBosToken),
      think_(kThinkToken),
      end_think_(kEndThinkToken),
      dsml_(kDsmlToken) {
  const DsmlTags tags = dsml_tags(options.family);
  calls_open_ = "<" + dsml_ + tags.calls;
  spaced_calls_open_ = "\n\n" + calls_open_;
  calls_close_ = "</" + dsml_ + tags.calls + ">";
  invoke_open_ = "<" + dsml_ + tags.invoke;
  invoke_close_ = "</" + dsml_ + tags.invoke;
  parameter_open_ = "<" + dsml_ + tags.parameter;
  parameter_close_ = "</" + dsml_ + tags.parameter;
}

void ChatParser::push(std::string_view text, std::vector<ChatEvent>& events) {
  V4I_CHECK(!final_);
  if (kept_ > 4096 || kept_ == text_.size()) {  // not on every push: that would be quadratic
    text_.erase(0, kept_);
    at_ -= kept_;
    searched_ -= std::min(searched_, kept_);
    kept_ = 0;
  }
  text_.append(text);
  run(events);
}

void ChatParser::flush(std::vector<ChatEvent>& events) {
  if (final_) return;
  final_ = true;
  run(events);
  if (state_ == State::kReasoning) wrong("the text ends before </think>");
}

void ChatParser::run(std::vector<ChatEvent>& events) {
  while (step(events)) {
  }
}

bool ChatParser::step(std::vector<ChatEvent>& events) {
  switch (state_) {
    case State::kReasoning:
    case State::kContent:
      return prose(events);
    case State::kBlock:
      return block(events);
    case State::kInvoke:
      return invoke(events);
    case State::kValue:
      return value(events);
    case State::kParameters:
      return parameters(events);
    case State::kAfter:
      return after();
    case State::kDone:
      if (at_ < text_.size()) wrong("text follows the end of the sentence");
      kept_ = at_ = text_.size();
      return false;
  }
  return false;
}

bool ChatParser::prose(std::vector<ChatEvent>& events) {
  const bool reasoning = state_ == State::kReasoning;
  std::vector<const std::string*> patterns = {&spaced_calls_open_, &calls_open_, &eos_};
  if (reasoning || options_.strict) patterns.push_back(&end_think_);
  if (options_.strict) patterns.insert(patterns.end(), {&bos_, &think_, &dsml_});
  Match m;
  const bool found = find(patterns, m);
  const std::size_t sure = final_ ? text_.size() : certain(patterns);
  if (!found || m.begin > sure) {
    emit(sure, events);
    return false;
  }
  emit(m.begin, events);
  if (m.pattern == &end_think_ && reasoning) {
    enter(State::kContent, m.end);
    kept_ = at_;
  } else if (m.pattern == &eos_) {
    if (reasoning) wrong("the sentence ends before </think>");
    enter(State::kDone, m.end);
    kept_ = at_;
  } else if (m.pattern == &spaced_calls_open_ || m.pattern == &calls_open_) {
    if (reasoning) wrong("a tool block begins before </think>");
    if (m.pattern == &calls_open_) wrong("a tool block does not follow a blank line");
    enter(State::kBlock, m.end);
  } else {
    wrong(fmt::format("\"{}\" stands inside the text", *m.pattern));
  }
  return true;
}

bool ChatParser::after() {
  while (at_ < text_.size() && !options_.strict && is_white(text_[at_])) ++at_;
  kept_ = at_;
  const std::string_view rest = std::string_view(text_).substr(at_);
  if (rest.empty()) return false;
  if (rest.substr(0, eos_.size()) == eos_) {
    enter(State::kDone, at_ + eos_.size());
    return true;
  }
  if (!final_ && std::string_view(eos_).substr(0, rest.size()) == rest) return false;
  wrong("text follows the tool block");
  enter(State::kContent, at_);
  return true;
}

// The first match at or after at_; of two that begin together, the longer.
bool ChatParser::find(const std::vector<const std::string*>& patterns, Match& m) {
  std::size_t longest = 0;
  m.begin = std::string::npos;
  for (const std::string* p : patterns) {
    longest = std::max(longest, p->size());
    const std::size_t i = text_.find(*p, std::max(at_, searched_));
    if (i == std::string::npos || i > m.begin) continue;
    if (i == m.begin && p->size() <= m.pattern->size()) continue;
    m = {i, i + p->size(), p};
  }
  if (m.begin != std::string::npos) return true;
  if (text_.size() >= longest) searched_ = std::max(at_, text_.size() - longest + 1);
  return false;
}

// Where the last piece of text begins that may yet become a pattern.
std::size_t ChatParser::certain(const std::vector<const std::string*>& patterns) const {
  std::size_t longest = 0;
  for (const std::string* p : patterns) longest = std::max(longest, p->size());
  const std::size_t first = text_.size() - std::min(text_.size() - at_, longest - 1);
  for (std::size_t i = first; i < text_.size(); ++i) {
    const std::string_view tail = std::string_view(text_).substr(i);
    for (const std::string* p : patterns)
      if (p->size() > tail.size() && p->compare(0, tail.size(), tail) == 0) return i;
  }
  return text_.size();
}

void ChatParser::enter(State state, std::size_t at) {
  state_ = state;
  at_ = searched_ = at;
}

// text_ up to `end` is reasoning or content, whichever we are in.
void ChatParser::emit(std::size_t end, std::vector<ChatEvent>& events) {
  if (end <= at_) return;
  const auto kind =
      state_ == State::kReasoning ? ChatEvent::Kind::kReasoning : ChatEvent::Kind::kContent;
  const std::string_view piece = std::string_view(text_).substr(kept_, end - kept_);
  if (!events.empty() && events.back().kind == kind)
    events.back().text.append(piece);
  else
    events.push_back({kind, std::string(piece), {}});
  kept_ = at_ = end;
}

void ChatParser::wrong(std::string what) {
  if (options_.strict) fail(Code::kFormat, "the model's output is malformed: {}", what);
  if (problem_.empty()) problem_ = std::move(what);
}

ParsedChat parse_chat(std::string_view text, const ParseOptions& options) {
  ChatParser parser(options);
  std::vector<ChatEvent> events;
  parser.push(to_valid_utf8(text), events);
  parser.flush(events);
  ParsedChat out;
  for (ChatEvent& e : events) {
    if (e.kind == ChatEvent::Kind::kToolCall)
      out.tool_calls.push_back(std::move(e));
    else
      (e.kind == ChatEvent::Kind::kReasoning ? out.reasoning : out.content).append(e.text);
  }
  out.problem = parser.problem();
  return out;
}

std::string to_json(const ParsedChat& chat) {
  std::string out = "{\"reasoning\": ";
  python_quote(chat.reasoning, out);
  out += ", \"content\": ";
  python_quote(chat.content, out);
  out += ", \"tool_calls\": [";
  for (std::size_t i = 0; i < chat.tool_calls.size(); ++i) {
    out += i > 0 ? ", {\"name\": " : "{\"name\": ";
    python_quote(chat.tool_calls[i].text, out);
    out += ", \"arguments\": ";
    python_quote(chat.tool_calls[i].arguments, out);
    out += "}";
  }
  return out + "]}";
}

}  // namespace v4i::tokenizer
