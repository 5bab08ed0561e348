// JSON -> messages.  Shapes are checked here; what a family allows is checked in chat.cc.
#include <algorithm>
#include <iterator>

#include "lib/base/error.h"
#include "lib/tokenizer/chat.h"

namespace v4i::tokenizer {
namespace {

using Kind = JsonValue::Kind;

struct RoleName {
  const char* name;
  Role role;
};
constexpr RoleName kRoles[] = {
    {"system", Role::kSystem}, {"developer", Role::kDeveloper},
    {"user", Role::kUser},     {"assistant", Role::kAssistant},
    {"tool", Role::kTool},     {"latest_reminder", Role::kLatestReminder},
};
constexpr const char* kTasks[] = {"action", "query", "authority", "domain", "title", "read_url"};

// One message; its errors name its index.
class MessageReader {
 public:
  MessageReader(const JsonValue& v, std::size_t index) : v_(v), index_(index) {}
  Message read() const;

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(Code::kFormat, fmt::format("message {}: ", index_) +
                                   fmt::format(format, std::forward<Args>(args)...));
  }
  // The text of member `key`: "" when absent or null.
  std::string text(const JsonValue& parent, const char* key) const;
  // Member `key` when present and not null, else nullptr.
  const JsonValue* member(const JsonValue& parent, const char* key, Kind kind) const;
  Role role() const;
  ContentPart part(const JsonValue& block) const;
  std::vector<ContentPart> parts(const JsonValue& content) const;
  std::vector<ContentBlock> blocks(const JsonValue& list) const;
  std::vector<ToolCall> tool_calls() const;

  const JsonValue& v_;
  std::size_t index_;
};

const JsonValue* MessageReader::member(const JsonValue& parent, const char* key, Kind kind) const {
  const JsonValue* m = parent.find(key);
  if (m == nullptr || m->is_null()) return nullptr;
  if (m->kind != kind) refuse("{} is {}, wanted {}", key, kind_name(m->kind), kind_name(kind));
  return m;
}

std::string MessageReader::text(const JsonValue& parent, const char* key) const {
  const JsonValue* m = member(parent, key, Kind::kString);
  return m == nullptr ? std::string() : m->text;
}

Role MessageReader::role() const {
  const std::string name = text(v_, "role");
  for (const RoleName& r : kRoles)
    if (name == r.name) return r.role;
  refuse("role is \"{}\", wanted system, developer, user, assistant, tool or latest_reminder",
         name.substr(0, 100));
}

ContentPart MessageReader::part(const JsonValue& block) const {
  if (!block.is_object())
    refuse("a part of the content is {}, wanted an object", kind_name(block.kind));
  const std::string type = text(block, "type");
  if (type == "text") return {text(block, "text"), false};
  if (type == "image" || type == "image_url") return {"", true};
  return {"[Unsupported " + (type.empty() ? "None" : type) + "]", false};
}

// `content` is a string, a list of parts, or null.
std::vector<ContentPart> MessageReader::parts(const JsonValue& content) const {
  if (content.is_null()) return {ContentPart{}};
  if (content.is_string()) return {{content.text, false}};
  if (!content.is_array())
    refuse("content is {}, wanted a string or an array of parts", kind_name(content.kind));
  std::vector<ContentPart> out;
  for (const JsonValue& b : content.items) out.push_back(part(b));
  return out;
}

std::vector<ContentBlock> MessageReader::blocks(const JsonValue& list) const {
  std::vector<ContentBlock> out;
  for (const JsonValue& b : list.items) {
    ContentBlock block;
    if (text(b, "type") == "tool_result") {
      block.tool_result = true;
      block.tool_call_id = text(b, "tool_use_id");
      if (const JsonValue* c = b.find("content")) block.parts = parts(*c);
    } else {
      block.parts.push_back(part(b));
    }
    out.push_back(std::move(block));
  }
  return out;
}

std::vector<ToolCall> MessageReader::tool_calls() const {
  std::vector<ToolCall> out;
  const JsonValue* list = member(v_, "tool_calls", Kind::kArray);
  if (list == nullptr) return out;
  for (const JsonValue& c : list->items) {
    const JsonValue* f = member(c, "function", Kind::kObject);
    if (f == nullptr) refuse("a tool call has no function");
    ToolCall call;
    call.name = text(*f, "name");
    if (call.name.empty()) refuse("a tool call has no function.name");
    call.id = text(c, "id");
    if (call.id.empty()) call.id = text(*f, "id");
    const JsonValue* arguments = f->find("arguments");
    if (arguments == nullptr) refuse("tool call {} has no arguments", call.name);
    call.arguments = *arguments;
    out.push_back(std::move(call));
  }
  return out;
}

Message MessageReader::read() const {
  if (!v_.is_object()) refuse("is {}, wanted an object", kind_name(v_.kind));
  Message m;
  m.role = role();
  const JsonValue* content = v_.find("content");
  std::vector<ContentPart> all = parts(content == nullptr ? JsonValue{} : *content);
  if (m.role == Role::kTool) {
    m.blocks.push_back({std::move(all), true, text(v_, "tool_call_id")});
  } else if (m.role == Role::kUser) {
    if (const JsonValue* list = member(v_, "content_blocks", Kind::kArray))
      m.blocks = blocks(*list);
    else if (content != nullptr && content->is_array())
      m.blocks = blocks(*content);
    else
      m.blocks.push_back({std::move(all), false, ""});
  } else {
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].image) refuse("only user and tool messages may hold images");
      if (i > 0) m.content += "\n\n";
      m.content += all[i].text;
    }
  }
  m.reasoning = text(v_, "reasoning_content");
  if (m.reasoning.empty()) m.reasoning = text(v_, "reasoning");
  m.tool_calls = tool_calls();
  m.task = text(v_, "task");
  if (!m.task.empty() &&
      std::find(std::begin(kTasks), std::end(kTasks), m.task) == std::end(kTasks))
    refuse("task is \"{}\", wanted action, query, authority, domain, title or read_url",
           m.task.substr(0, 100));
  const JsonValue* wo_eos = v_.find("wo_eos");
  m.without_eos = wo_eos != nullptr && wo_eos->truthy();
  if (const JsonValue* tools = member(v_, "tools", Kind::kArray)) m.tools = tools->items;
  if (const JsonValue* format = v_.find("response_format")) m.response_format = *format;
  return m;
}

// [{"type": "function", "function": {...}}, ...] -> the function objects.
void unwrap_tools(std::vector<JsonValue>& tools, const std::string& where) {
  for (JsonValue& t : tools) {
    const JsonValue* f = t.find("function");
    if (f == nullptr || !f->is_object())
      fail(Code::kFormat, "{}: a tool has no function object", where);
    JsonValue function = *f;
    t = std::move(function);
  }
}

// Tools and response_format beside the messages belong to the message that leads.
void attach(std::vector<Message>& messages, const JsonValue& root) {
  const JsonValue* tools = root.find("tools");
  const JsonValue* format = root.find("response_format");
  const bool has_tools = tools != nullptr && tools->truthy();
  const bool has_format = format != nullptr && format->truthy();
  if (!has_tools && !has_format) return;
  if (has_tools && !tools->is_array())
    fail(Code::kFormat, "tools is {}, wanted an array", kind_name(tools->kind));
  const bool leads = !messages.empty() && (messages.front().role == Role::kSystem ||
                                           messages.front().role == Role::kDeveloper);
  if (!leads) {
    Message system;
    system.role = Role::kSystem;
    messages.insert(messages.begin(), std::move(system));
  }
  if (has_tools) messages.front().tools = tools->items;
  if (has_format) messages.front().response_format = *format;
}

}  // namespace

std::vector<Message> parse_messages(std::string_view json) {
  const JsonValue root = parse_json(json, "the conversation", {.depth = 256, .values = 1u << 20});
  const JsonValue* list = root.is_array() ? &root : root.find("messages");
  if (list == nullptr || !list->is_array())
    fail(Code::kFormat, "the conversation is {} without messages, wanted an array of messages",
         kind_name(root.kind));
  std::vector<Message> out;
  for (std::size_t i = 0; i < list->items.size(); ++i)
    out.push_back(MessageReader(list->items[i], i).read());
  attach(out, root);
  for (std::size_t i = 0; i < out.size(); ++i)
    unwrap_tools(out[i].tools, fmt::format("message {}", i));
  return out;
}

}  // namespace v4i::tokenizer
