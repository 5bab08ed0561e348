// Conversation; see conversation.h.
#include "conversation.h"

#include <cstring>
#include <fstream>

namespace cli {
namespace {

// A saved conversation: this line, the length of the messages in decimal, a line end,
// the messages as JSON, then the session as the library writes it.
constexpr char kMagic[] = "v4infer conversation 1\n";
constexpr std::size_t kMaxMessages = std::size_t{1} << 30;

// An answer's text as it comes -> events, through the library's stream parser.
class EventStream {
 public:
  EventStream(const v4infer::Model& model, bool thinking) {
    check(v4infer::detail::call([&](v4i_error** err) {
      return v4i_chat_stream_create(model.get(), thinking ? 2 : 1, &stream_, err);
    }));
  }
  ~EventStream() { v4i_chat_stream_release(stream_); }
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  Json feed(const char* text, std::size_t len) {
    return Json::parse(take(v4infer::detail::text([&](v4i_buffer** b, v4i_error** err) {
      return v4i_chat_stream_feed(stream_, text, len, b, err);
    })));
  }
  Json finish() {
    return Json::parse(take(v4infer::detail::text(
        [&](v4i_buffer** b, v4i_error** err) { return v4i_chat_stream_finish(stream_, b, err); })));
  }

 private:
  v4i_chat_stream* stream_ = nullptr;
};

Json assistant_message(const Json& events) {
  std::string reasoning, content;
  Json calls = Json::array();
  for (const Json& e : events) {
    if (e["type"] == "reasoning") reasoning += e["text"].get<std::string>();
    if (e["type"] == "content") content += e["text"].get<std::string>();
    if (e["type"] == "tool_call")
      calls.push_back(Json{{"id", "call_" + e["index"].dump()},
                           {"type", "function"},
                           {"function", {{"name", e["name"]}, {"arguments", e["arguments"]}}}});
  }
  Json out{{"role", "assistant"}, {"content", content}};
  if (!reasoning.empty()) out["reasoning_content"] = reasoning;
  if (!calls.empty()) out["tool_calls"] = calls;
  return out;
}

}  // namespace

Conversation::Conversation(const Opened& opened, const SampleArgs& sample, const ChatArgs& chat,
                           const std::string& system)
    : opened_(&opened), sample_(sample), chat_(chat), session_(new_session(opened, sample)) {
  if (!system.empty()) messages_.push_back(Json{{"role", "system"}, {"content", system}});
}

Conversation::Conversation(const Conversation& o, v4infer::Session session)
    : opened_(o.opened_),
      sample_(o.sample_),
      chat_(o.chat_),
      messages_(o.messages_),
      session_(std::move(session)) {}

Answer Conversation::ask(const std::string& text, bool bar, const Show& show) {
  Json messages = messages_;
  messages.push_back(Json{{"role", "user"}, {"content", text}});
  const v4i_chat_options options = chat_options(chat_);
  const std::string json = messages.dump(-1, ' ', false, Json::error_handler_t::replace);
  take(session_.sync(take(opened_->model.chat(json, options))));

  EventStream stream(opened_->model, options.thinking >= 2);
  Json events = Json::array();
  const auto add = [&](Json more) {
    for (Json& e : more) {
      show(e);
      events.push_back(std::move(e));
    }
  };
  Answer answer = write_answer(session_, sample_, bar, [&](const v4i_step& step) {
    add(stream.feed(step.text, step.text_len));
  });
  add(stream.finish());
  messages.push_back(assistant_message(events));
  messages_ = std::move(messages);
  return answer;
}

void Conversation::save(const std::string& path) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out) throw Failure(path + ": cannot be written");
  const std::string json = messages_.dump(-1, ' ', false, Json::error_handler_t::replace);
  out << kMagic << json.size() << "\n" << json;
  check(session_.save([&](const void* data, std::size_t bytes) {
    out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    return static_cast<bool>(out);
  }));
  out.close();
  if (!out) throw Failure(path + ": not everything could be written");
}

void Conversation::load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Failure(path + ": cannot be read");
  char magic[sizeof kMagic - 1];
  std::size_t size = 0;
  in.read(magic, sizeof magic);
  if (!in || std::memcmp(magic, kMagic, sizeof magic) != 0 || !(in >> size) || in.get() != '\n' ||
      size > kMaxMessages)
    throw Failure(path + ": is not a saved conversation");
  std::string json(size, ' ');
  in.read(json.data(), static_cast<std::streamsize>(size));
  Json messages = Json::parse(json, nullptr, false);
  if (!in || !messages.is_array()) throw Failure(path + ": the messages are damaged");
  session_ = take(v4infer::Session::restore(
      opened_->model,
      [&](void* data, std::size_t bytes) {
        in.read(static_cast<char*>(data), static_cast<std::streamsize>(bytes));
        return static_cast<std::size_t>(in.gcount());
      },
      opened_->session_options()));
  messages_ = std::move(messages);
  set_sampler();
}

void Conversation::set_sampler() {
  v4i_sampler_options options = sample_.options;
  options.greedy = sample_.greedy ? 1 : 0;
  check(session_.set_sampler(take(v4infer::Sampler::create(opened_->model, options))));
}

Conversation Conversation::fork() { return {*this, take(session_.fork())}; }

void Conversation::clear() {
  const bool system = !messages_.empty() && messages_[0]["role"] == "system";
  messages_ = system ? Json::array({messages_[0]}) : Json::array();
  check(session_.rewind(0));
}

std::size_t Conversation::turns() const {
  std::size_t n = 0;
  for (const Json& m : messages_) n += m["role"] == "user" ? 1 : 0;
  return n;
}

}  // namespace cli
