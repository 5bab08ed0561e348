// Conversation; see conversation.h.
#include "conversation.h"

#include <algorithm>
#include <fstream>

namespace cli {
namespace {

// A saved conversation: the first line, the length of the messages in decimal, a line end, the
// messages as JSON, then the session as the library writes it.  With images, version 2: between
// messages and session their number and, of each, the lengths of its path and of its bytes and its
// limit of tokens, in decimal on a line; then the path and the bytes.
constexpr char kMagic[] = "v4infer conversation ";
constexpr std::size_t kMaxMessages = std::size_t{1} << 30;
constexpr std::size_t kMaxImage = std::size_t{1} << 28, kMaxPath = 1 << 16, kMaxImages = 10000;

// Pieces of a saved conversation; what is wrong is a Failure that names the file.
class SavedReader {
 public:
  explicit SavedReader(const std::string& path) : path_(path), in_(path, std::ios::binary) {
    if (!in_) throw Failure(path + ": cannot be read");
    if (bytes(sizeof kMagic - 1) != kMagic) damaged("is not a saved conversation");
  }
  [[noreturn]] void damaged(const char* what) const { throw Failure(path_ + ": " + what); }

  // A number up to `most` and the white space behind it.
  std::size_t number(std::size_t most) {
    std::size_t n = 0;
    if (!(in_ >> n) || n > most || (in_.get(), !in_)) damaged("is not a saved conversation");
    return n;
  }
  std::string bytes(std::size_t n) {  // in pieces: the length may be a lie
    constexpr std::size_t kPiece = std::size_t{1} << 20;
    std::string out;
    while (in_ && out.size() < n) {
      const std::size_t at = out.size();
      out.resize(std::min(n, at + kPiece));
      in_.read(out.data() + at, static_cast<std::streamsize>(out.size() - at));
      out.resize(at + static_cast<std::size_t>(in_.gcount()));
    }
    if (out.size() != n) damaged("is not a saved conversation, or cut");
    return out;
  }
  std::size_t read(void* data, std::size_t n) {
    in_.read(static_cast<char*>(data), static_cast<std::streamsize>(n));
    return static_cast<std::size_t>(in_.gcount());
  }

 private:
  std::string path_;
  std::ifstream in_;
};

ImageFiles read_images(SavedReader& in) {
  ImageFiles out;
  const std::size_t count = in.number(kMaxImages);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t path = in.number(kMaxPath), bytes = in.number(kMaxImage);
    const auto most = static_cast<std::uint32_t>(in.number(1 << 20));
    std::string name = in.bytes(path);
    out.push_back(std::make_shared<const ImageFile>(std::move(name), in.bytes(bytes), most));
  }
  return out;
}

void write_images(std::ofstream& out, const ImageFiles& images) {
  out << images.size() << "\n";
  for (const auto& i : images)
    out << i->path().size() << " " << i->bytes().size() << " " << i->max_tokens() << "\n"
        << i->path() << i->bytes();
}

std::size_t image_parts(const Json& messages) {
  std::size_t n = 0;
  for (const Json& m : messages) {
    if (!m.is_object() || !m.contains("content") || !m["content"].is_array()) continue;
    for (const Json& part : m["content"]) n += part.value("type", "") == "image" ? 1 : 0;
  }
  return n;
}

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
      images_(o.images_),
      session_(std::move(session)) {}

void Conversation::sync(const Json& messages, const ImageFiles& images,
                        const v4i_chat_options& options) {
  const std::string json = messages.dump(-1, ' ', false, Json::error_handler_t::replace);
  ImageFiles in_order;
  for (const std::uint32_t i : take(opened_->model.image_order(json, options)))
    in_order.push_back(images.at(i));
  take(session_.sync_media(take(opened_->model.chat(json, options)), views(in_order)));
}

Answer Conversation::ask(const std::string& text, const ImageFiles& images, bool bar,
                         const Show& show) {
  Json messages = messages_;
  messages.push_back(user_message(text, images.size()));
  ImageFiles all = images_;
  all.insert(all.end(), images.begin(), images.end());
  const v4i_chat_options options = chat_options(chat_);
  sync(messages, all, options);

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
  images_ = std::move(all);
  return answer;
}

void Conversation::save(const std::string& path) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out) throw Failure(path + ": cannot be written");
  const std::string json = messages_.dump(-1, ' ', false, Json::error_handler_t::replace);
  out << kMagic << (images_.empty() ? 1 : 2) << "\n" << json.size() << "\n" << json;
  if (!images_.empty()) write_images(out, images_);
  check(session_.save([&](const void* data, std::size_t bytes) {
    out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    return static_cast<bool>(out);
  }));
  out.close();
  if (!out) throw Failure(path + ": not everything could be written");
}

void Conversation::load(const std::string& path) {
  SavedReader in(path);
  const std::size_t version = in.number(2), size = in.number(kMaxMessages);
  Json messages = Json::parse(in.bytes(size), nullptr, false);
  if (!messages.is_array()) in.damaged("the messages are damaged");
  ImageFiles images = version == 2 ? read_images(in) : ImageFiles();
  if (image_parts(messages) != images.size())
    in.damaged("its images are not those of its messages");
  session_ = take(v4infer::Session::restore(
      opened_->model, [&](void* data, std::size_t bytes) { return in.read(data, bytes); },
      opened_->session_options()));
  messages_ = std::move(messages);
  images_ = std::move(images);
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
  images_.clear();
  check(session_.rewind(0));
}

std::size_t Conversation::turns() const {
  std::size_t n = 0;
  for (const Json& m : messages_) n += m["role"] == "user" ? 1 : 0;
  return n;
}

}  // namespace cli
