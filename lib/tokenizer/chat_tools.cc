// ChatRenderer: tool schemas, response formats and tool calls.
#include "lib/tokenizer/chat_constants.h"
#include "lib/tokenizer/chat_renderer.h"

namespace v4i::tokenizer {
namespace {

void replace_all(std::string& s, const std::string& from, const std::string& to) {
  for (std::size_t i = s.find(from); i != std::string::npos; i = s.find(from, i + to.size()))
    s.replace(i, from.size(), to);
}

}  // namespace

void ChatRenderer::tools_and_format(const Message& m) {
  if (!m.tools.empty()) {
    std::string block = kToolsBlock;
    const DsmlTags v4 = dsml_tags(ChatFamily::kV4_0731);
    const std::string dsml = kDsmlToken;
    replace_all(block, dsml + v4.calls, dsml + tags_.calls);
    replace_all(block, dsml + v4.invoke, dsml + tags_.invoke);
    replace_all(block, dsml + v4.parameter, dsml + tags_.parameter);
    const std::string hole = "{tool_schemas}";
    const std::size_t at = block.find(hole);
    out.literal("\n\n" + block.substr(0, at));
    for (std::size_t i = 0; i < m.tools.size(); ++i) {
      if (i > 0) out.literal("\n");
      out.content(python_dumps(m.tools[i]));
    }
    out.literal(block.substr(at + hole.size()));
  }
  if (m.response_format.truthy()) {
    out.literal("\n\n");
    out.literal(kResponseFormat);
    out.content(python_dumps(m.response_format));
  }
}

void ChatRenderer::tag(const char* open, const char* name) {
  out.literal(open);
  out.special(kDsmlToken);
  out.literal(name);
}

void ChatRenderer::tool_calls(const Message& m) {
  out.literal("\n\n");
  tag("<", tags_.calls);
  out.literal(">\n");
  for (const ToolCall& call : m.tool_calls) {
    tag("<", tags_.invoke);
    out.literal(" name=\"");
    out.content(call.name);
    out.literal("\">\n");
    arguments(call);
    out.literal("\n");
    tag("</", tags_.invoke);
    out.literal(">\n");
  }
  tag("</", tags_.calls);
  out.literal(">");
}

// Arguments are an object, JSON text of one, or that text as a JSON string once more;
// anything else becomes one parameter named "arguments".
void ChatRenderer::arguments(const ToolCall& call) {
  JsonValue object = call.arguments;
  for (int n = 0; n < 2 && object.is_string(); ++n) {
    JsonValue inner;
    if (!try_parse_json(object.text, inner)) break;
    object = std::move(inner);
  }
  if (!object.is_object()) {
    object = JsonValue{};
    object.kind = JsonValue::Kind::kObject;
    object.members.push_back({"arguments", call.arguments});
  }
  for (std::size_t i = 0; i < object.members.size(); ++i) {
    const auto& [key, value] = object.members[i];
    if (i > 0) out.literal("\n");
    tag("<", tags_.parameter);
    out.literal(" name=\"");
    out.content(key);
    out.literal(value.is_string() ? "\" string=\"true\">" : "\" string=\"false\">");
    out.content(value.is_string() ? value.text : python_dumps(value));
    tag("</", tags_.parameter);
    out.literal(">");
  }
}

}  // namespace v4i::tokenizer
