// ChatParser inside a tool block.  kept_ stays where the current call (or the block)
// began until the call is complete: a call that breaks off is given back as content.
#include <algorithm>

#include "lib/base/error.h"
#include "lib/tokenizer/chat_parse.h"

namespace v4i::tokenizer {
namespace {

constexpr std::string_view kWhite = " \t\r\n";

std::string_view trim_left(std::string_view s) {
  const std::size_t i = s.find_first_not_of(kWhite);
  return i == std::string_view::npos ? std::string_view() : s.substr(i);
}

bool ends_with(std::string_view s, std::string_view end) {
  return s.size() >= end.size() && s.substr(s.size() - end.size()) == end;
}

// ` name="NAME">\n`, one more newline allowed (a call without parameters has it).
bool parse_name(std::string_view head, bool strict, std::string& name) {
  head = trim_left(head);
  constexpr std::string_view kOpen = "name=\"";
  if (head.substr(0, kOpen.size()) != kOpen) return false;
  head.remove_prefix(kOpen.size());
  if (strict && !ends_with(head, "\n")) return false;
  const std::size_t last = head.find_last_not_of(kWhite);
  if (last == std::string_view::npos) return false;
  if (strict && head.size() - last - 1 > 2) return false;
  head = head.substr(0, last + 1);
  if (!ends_with(head, "\">")) return false;
  name = head.substr(0, head.size() - 2);
  return true;
}

}  // namespace

// What may stand between two tags: the ">" of the first and a newline.
bool ChatParser::gap_ok(std::string_view gap) const {
  if (options_.strict) return gap == ">\n";
  if (!gap.empty() && gap[0] == '>') gap.remove_prefix(1);
  return trim_left(gap).empty();
}

// Gives the unfinished call back as content, but for the ">" that ends a complete one.
bool ChatParser::broken(std::string what, std::vector<ChatEvent>& events) {
  wrong(std::move(what));
  if (kept_ == at_ && at_ < text_.size() && text_[at_] == '>') kept_ = ++at_;
  const std::size_t at = at_;
  at_ = kept_;
  state_ = State::kContent;
  emit(at, events);
  enter(State::kContent, at);
  return true;
}

bool ChatParser::block(std::vector<ChatEvent>& events) {
  Match m;
  if (!find({&invoke_open_, &calls_close_}, m))
    return final_ && broken("a tool block is cut off", events);
  const std::string_view gap = std::string_view(text_).substr(at_, m.begin - at_);
  if (!gap_ok(gap)) return broken("there is text between tool calls", events);
  if (m.pattern == &calls_close_) {
    enter(State::kAfter, m.end);
    kept_ = at_;
    return true;
  }
  enter(State::kInvoke, m.end);
  return true;
}

bool ChatParser::invoke(std::vector<ChatEvent>& events) {
  Match m;
  if (!find({&parameter_open_, &invoke_close_}, m))
    return final_ && broken("a tool call is cut off", events);
  const std::string_view head = std::string_view(text_).substr(at_, m.begin - at_);
  if (!parse_name(head, options_.strict, name_)) return broken("a tool call has no name", events);
  parameters_.clear();
  arguments_.assign(1, '{');
  const bool none = m.pattern == &invoke_close_;
  enter(none ? State::kBlock : State::kValue, m.end);
  if (none) finish_call(events);
  return true;
}

bool ChatParser::value(std::vector<ChatEvent>& events) {
  Match m;
  if (!find({&parameter_close_}, m))
    return final_ && broken("a parameter of a tool call is cut off", events);
  if (!add_parameter(std::string_view(text_).substr(at_, m.begin - at_)))
    return broken("a parameter of a tool call is malformed or occurs twice", events);
  enter(State::kParameters, m.end);
  return true;
}

bool ChatParser::parameters(std::vector<ChatEvent>& events) {
  Match m;
  if (!find({&parameter_open_, &invoke_close_}, m))
    return final_ && broken("a tool call is cut off", events);
  const std::string_view gap = std::string_view(text_).substr(at_, m.begin - at_);
  if (!gap_ok(gap)) return broken("there is text between parameters", events);
  const bool last = m.pattern == &invoke_close_;
  enter(last ? State::kBlock : State::kValue, m.end);
  if (last) finish_call(events);
  return true;
}

// ` name="KEY" string="true|false">VALUE`; KEY ends at the first place where the rest fits.
bool ChatParser::add_parameter(std::string_view text) {
  constexpr std::string_view kName = " name=\"", kTrue = "\" string=\"true\">",
                             kFalse = "\" string=\"false\">";
  if (text.substr(0, kName.size()) != kName) return false;
  text.remove_prefix(kName.size());
  const std::size_t yes = text.find(kTrue), no = text.find(kFalse);
  const std::size_t split = std::min(yes, no);
  if (split == std::string_view::npos) return false;
  const std::string key(text.substr(0, split));
  const std::string_view value = text.substr(split + (yes < no ? kTrue : kFalse).size());
  if (std::find(parameters_.begin(), parameters_.end(), key) != parameters_.end()) return false;
  if (!parameters_.empty()) arguments_ += ", ";
  parameters_.push_back(key);
  python_quote(key, arguments_);
  arguments_ += ": ";
  JsonValue json;
  if (yes > no && try_parse_json(value, json))
    arguments_ += value;  // as the model wrote it
  else
    python_quote(value, arguments_);
  return true;
}

void ChatParser::finish_call(std::vector<ChatEvent>& events) {
  events.push_back({ChatEvent::Kind::kToolCall, name_, arguments_ + "}"});
  kept_ = at_;
}

}  // namespace v4i::tokenizer
