// Section 5 of v4infer.h, second half: chat prompts and answers.
#include "lib/tokenizer/chat.h"

#include <string>
#include <utility>
#include <vector>

#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/tokenizer/chat_parse.h"
#include "lib/tokenizer/json_value.h"
#include "lib/tokenizer/utf8.h"

struct v4i_chat_stream {
  std::shared_ptr<v4i::capi::ModelState> model;
  v4i::tokenizer::ChatParser parser;
  v4i::tokenizer::Utf8Stream utf8{};  // feeds may split a character
  v4i::capi::InUse in_use;
  int calls = 0;
  bool finished = false;
};

namespace v4i::capi {
namespace {

using tokenizer::JsonValue;

tokenizer::ChatFamily family_of(const ModelState& model) {
  const model::Config& c = model.context->model().config();
  if (c.model_type == "deepseek_v41") return tokenizer::ChatFamily::kV41;
  return c.dspark_block_size > 0 ? tokenizer::ChatFamily::kV4_0731
                                 : tokenizer::ChatFamily::kV4Preview;
}

JsonValue text_value(std::string_view text) {
  JsonValue v;
  v.kind = JsonValue::Kind::kString;
  v.text = text;
  return v;
}

// Images come before the text; a message of images alone has no text.
JsonValue parts_value(std::uint32_t images, std::string_view text) {
  constexpr std::uint32_t kMost = 10000;  // no context holds that many
  if (images > kMost)
    fail(Code::kInvalid, "v4i_chat_message.image_count is {}, allowed is 0 to {}", images, kMost);
  JsonValue parts;
  parts.kind = JsonValue::Kind::kArray;
  JsonValue part;
  part.kind = JsonValue::Kind::kObject;
  part.members.push_back({"type", text_value("image")});
  parts.items.assign(images, part);
  if (text.empty()) return parts;
  part.members = {{"type", text_value("text")}, {"text", text_value(text)}};
  parts.items.push_back(std::move(part));
  return parts;
}

JsonValue messages_value(const v4i_chat_message* first, std::size_t count) {
  JsonValue list;
  list.kind = JsonValue::Kind::kArray;
  each_struct(first, count, "v4i_chat_message", [&](const v4i_chat_message& m) {
    JsonValue message;
    message.kind = JsonValue::Kind::kObject;
    const char* role = &not_null(m.role, "v4i_chat_message.role");
    message.members.push_back({"role", text_value(role)});
    const auto content = text_of(m.content, m.content_len, "v4i_chat_message.content");
    message.members.push_back({"content", m.image_count == 0
                                              ? text_value(content)
                                              : parts_value(m.image_count, content)});
    if (m.tool_call_id != nullptr)
      message.members.push_back({"tool_call_id", text_value(m.tool_call_id)});
    list.items.push_back(std::move(message));
  });
  return list;
}

// Adds the tools of the options to a conversation given as messages or an object.
JsonValue with_tools(JsonValue chat, const v4i_chat_options& o) {
  const auto text = text_of(o.tools_json, o.tools_json_len, "v4i_chat_options.tools_json");
  if (text.empty()) return chat;
  if (!chat.is_object()) {
    JsonValue object;
    object.kind = JsonValue::Kind::kObject;
    object.members.push_back({"messages", std::move(chat)});
    chat = std::move(object);
  }
  if (chat.find("tools") != nullptr)
    fail(Code::kInvalid, "tools are given twice: in the JSON and in v4i_chat_options.tools_json");
  chat.members.push_back({"tools", tokenizer::parse_json(text, "v4i_chat_options.tools_json")});
  return chat;
}

tokenizer::ChatOptions render_options(const v4i_chat_options& o, const ModelState& model) {
  check_range(o.thinking, 0, 3, "v4i_chat_options.thinking");
  check_range(o.open_assistant, 0, 1, "v4i_chat_options.open_assistant");
  check_range(o.effort, 0, 3, "v4i_chat_options.effort");
  constexpr tokenizer::Effort kEfforts[] = {tokenizer::Effort::kDefault, tokenizer::Effort::kLow,
                                            tokenizer::Effort::kHigh, tokenizer::Effort::kMax};
  tokenizer::ChatOptions out;
  out.family = family_of(model);
  out.thinking = o.thinking >= 2;
  out.effort = o.thinking == 3 ? tokenizer::Effort::kMax : kEfforts[o.effort];
  out.open_assistant = o.open_assistant != 0;
  return out;
}

// The model takes images, and its two files agree about the id that stands for one.
void check_images(const ModelState& model, const tokenizer::Tokenizer& tokenizer,
                  std::size_t images) {
  const model::Model& m = model.context->model();
  if (!m.weights().vision.present())
    fail(Code::kUnsupported, "{}: the conversation has {} images and the model takes none",
         m.path(), images);
  const std::int32_t id = tokenizer::image_placeholder(tokenizer);
  if (id != m.config().vision.image_token)
    fail(Code::kFormat, "{}: the image placeholder has id {}, image_token_id of config.json is {}",
         tokenizer.name(), id, m.config().vision.image_token);
}

tokenizer::RenderedChat encode(const v4i_model* m, JsonValue chat, const v4i_chat_options* o) {
  const v4i_chat_options options = read_optional(o, "v4i_chat_options");
  chat = with_tools(std::move(chat), options);
  const tokenizer::Tokenizer& t = tokenizer_of(m);
  auto out = tokenizer::render_chat(t, tokenizer::python_dumps(chat),
                                    render_options(options, model_of(m)));
  if (!out.images.empty()) check_images(model_of(m), t, out.images.size());
  return out;
}

JsonValue chat_of(const char* json, std::size_t len) {
  return tokenizer::parse_json(text_of(json, len, "json"), "messages");
}

tokenizer::ParseOptions parse_options(const ModelState& model, bool thinking) {
  tokenizer::ParseOptions out;
  out.family = family_of(model);
  out.thinking = thinking;
  return out;
}

std::string events_json(const std::vector<tokenizer::ChatEvent>& events, int& calls) {
  using Kind = tokenizer::ChatEvent::Kind;
  std::string out = "[";
  for (const tokenizer::ChatEvent& e : events) {
    if (out.size() > 1) out += ", ";
    const bool call = e.kind == Kind::kToolCall;
    out += call ? "{\"type\": \"tool_call\", \"index\": " + std::to_string(calls++) + ", \"name\": "
           : e.kind == Kind::kReasoning ? "{\"type\": \"reasoning\", \"text\": "
                                        : "{\"type\": \"content\", \"text\": ";
    tokenizer::python_quote(e.text, out);
    if (call) {
      out += ", \"arguments\": ";
      tokenizer::python_quote(e.arguments, out);
    }
    out += "}";
  }
  return out + "]";
}

// One feed() or finish(): BUSY when another runs, STATE after the end.
template <class Body>
void stream_call(v4i_chat_stream* c, v4i_buffer** out, Body&& body) {
  v4i_chat_stream& stream = not_null(c, "the chat stream");
  v4i_buffer*& to = not_null(out, "json_events");
  if (!stream.in_use.try_enter()) fail(Code::kBusy, "another call is running on this chat stream");
  struct Leave {
    InUse& in_use;
    ~Leave() { in_use.leave(); }
  } leave{stream.in_use};
  if (stream.finished) fail(Code::kState, "the chat stream is finished; create another one");
  std::vector<tokenizer::ChatEvent> events;
  body(stream, events);
  to = new v4i_buffer{events_json(events, stream.calls)};
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_chat_encode(const v4i_model* m, const v4i_chat_message* msgs, size_t msg_count,
                           const v4i_chat_options* o, v4i_token* out, size_t cap, size_t* count,
                           v4i_error** err) {
  return guard(err, [&] {
    const auto chat = encode(m, messages_value(msgs, msg_count), o);
    write_array(std::span<const v4i_token>(chat.ids), out, cap, count);
  });
}

v4i_status v4i_chat_encode_json(const v4i_model* m, const char* json, size_t len,
                                const v4i_chat_options* o, v4i_token* out, size_t cap,
                                size_t* count, v4i_error** err) {
  return guard(err, [&] {
    const auto chat = encode(m, chat_of(json, len), o);
    write_array(std::span<const v4i_token>(chat.ids), out, cap, count);
  });
}

v4i_status v4i_chat_image_order(const v4i_model* m, const char* json, size_t len,
                                const v4i_chat_options* o, uint32_t* out, size_t cap, size_t* count,
                                v4i_error** err) {
  return guard(err, [&] {
    const auto chat = encode(m, chat_of(json, len), o);
    write_array(std::span<const uint32_t>(chat.images), out, cap, count);
  });
}

v4i_status v4i_chat_parse(const v4i_model* m, const char* text, size_t len, int32_t thinking,
                          v4i_buffer** json, v4i_error** err) {
  return guard(err, [&] {
    const ModelState& model = model_of(m);
    check_range(thinking, 0, 2, "thinking");
    const std::string_view all = text_of(text, len, "text");
    const bool on =
        thinking == 2 || (thinking == 0 && all.find(tokenizer::kEndThinkToken) != all.npos);
    write_buffer(to_json(tokenizer::parse_chat(all, parse_options(model, on))), json, "json");
  });
}

v4i_status v4i_chat_stream_create(const v4i_model* m, int32_t thinking, v4i_chat_stream** out,
                                  v4i_error** err) {
  return guard(err, [&] {
    const ModelState& model = model_of(m);
    check_range(thinking, 0, 2, "thinking");
    v4i_chat_stream*& to = not_null(out, "out");
    tokenizer::ChatParser parser(parse_options(model, thinking == 2));
    to = new v4i_chat_stream{m->state, std::move(parser), {}, {}, 0, false};
  });
}

v4i_status v4i_chat_stream_feed(v4i_chat_stream* c, const char* text, size_t len,
                                v4i_buffer** json_events, v4i_error** err) {
  return guard(err, [&] {
    const std::string_view piece = text_of(text, len, "text");
    stream_call(c, json_events, [&](v4i_chat_stream& s, auto& events) {
      std::string valid;
      s.utf8.push(piece, valid);
      s.parser.push(valid, events);
    });
  });
}

v4i_status v4i_chat_stream_finish(v4i_chat_stream* c, v4i_buffer** json_events, v4i_error** err) {
  return guard(err, [&] {
    stream_call(c, json_events, [](v4i_chat_stream& s, auto& events) {
      std::string rest;
      s.utf8.flush(rest);
      s.parser.push(rest, events);
      s.parser.flush(events);
      s.finished = true;
    });
  });
}

void v4i_chat_stream_release(v4i_chat_stream* c) {
  if (c == nullptr || !c->model->engine->same_process()) return;
  c->in_use.wait_idle();
  delete c;
}

}  // extern "C"
