// v4infer tokenize, detokenize, render: text, ids, and chat messages as a prompt.
#include <memory>

#include "common.h"
#include "render.h"

namespace cli {
namespace {

struct Args {
  ModelArgs model;
  std::string text, file, ids;
  ChatArgs chat;
  bool bos = false, special = false, json = false;
};

std::string bytes_of(const v4infer::Model& model, v4i_token t) {
  const char* text = nullptr;
  std::size_t len = 0;
  check(v4infer::detail::call(
      [&](v4i_error** err) { return v4i_token_bytes(model.get(), t, &text, &len, err); }));
  return {text, len};
}

void tokenize(const Args& a, bool from_file) {
  const std::string text = from_file ? read_file(a.file) : a.text;
  const Opened opened = open_model(a.model);
  const std::uint32_t flags =
      (a.bos ? V4I_TOK_ADD_BOS : 0u) | (a.special ? V4I_TOK_PARSE_SPECIAL : 0u);
  const v4infer::Tokens ids = take(opened.model.tokenize(text, flags));
  if (a.json || !stdout_is_terminal()) return print_json(Json(ids));
  for (v4i_token t : ids) {
    print_text(std::to_string(t) + "\t");
    print_json(Json(bytes_of(opened.model, t)));  // quoted: spaces and line ends show
  }
}

void detokenize(const Args& a) {
  const v4infer::Tokens ids = read_ids(a.ids);
  const Opened opened = open_model(a.model);
  const std::string text = take(opened.model.detokenize(ids));
  if (a.json) return print_json(Json(text));
  print_text(text);
  if (stdout_is_terminal()) print_text("\n");
}

void render(const Args& a) {
  const std::string messages = read_file(a.file);
  const Opened opened = open_model(a.model);
  const v4infer::Tokens ids = take(opened.model.chat(messages, chat_options(a.chat)));
  const std::string text = take(opened.model.detokenize(ids));
  if (a.json) return print_json(Json{{"text", text}, {"ids", ids}});
  print_text(text + "\n");
  print_json(Json(ids));
}

}  // namespace

void add_chat_args(CLI::App& command, ChatArgs& a) {
  command.add_option("--think", a.think, "off, on, low, high, max; default the model's")
      ->check(CLI::IsMember({"off", "on", "low", "high", "max"}));
}

v4i_chat_options chat_options(const ChatArgs& a) {
  v4i_chat_options o = v4infer::Model::chat_options();
  o.open_assistant = a.open_assistant ? 1 : 0;
  if (!a.think.empty()) o.thinking = a.think == "off" ? 1 : 2;
  if (a.think == "low") o.effort = 1;
  if (a.think == "high") o.effort = 2;
  if (a.think == "max") o.effort = 3;
  return o;
}

void add_tokens(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* t = app.add_subcommand("tokenize", "text to token ids");
  add_model_args(*t, args->model);
  auto* text = t->add_option("--text", args->text, "the text");
  auto* file = t->add_option("--file", args->file, "a file with the text; - is stdin");
  text->excludes(file);
  t->add_flag("--bos", args->bos, "begin with the begin-of-sentence token");
  t->add_flag("--special", args->special, "special tokens written in the text are meant");
  t->add_flag("--json", args->json, "a JSON array, also on a terminal");
  t->callback([args, text, file] {
    if (text->count() + file->count() == 0) throw CLI::RequiredError("--text or --file");
    tokenize(*args, file->count() > 0);
  });

  CLI::App* d = app.add_subcommand("detokenize", "token ids to text");
  add_model_args(*d, args->model);
  d->add_option("--ids", args->ids, "JSON file with an array of ids; - is stdin")->required();
  d->add_flag("--json", args->json, "a JSON string");
  d->callback([args] { detokenize(*args); });

  CLI::App* r = app.add_subcommand("render", "chat messages to the prompt the model sees");
  add_model_args(*r, args->model);
  add_chat_args(*r, args->chat);
  r->add_option("--messages", args->file,
                "JSON file: messages, or {messages, tools, response_format}; - is stdin")
      ->required();
  r->add_flag("!--no-answer", args->chat.open_assistant, "do not open the assistant's turn");
  r->add_flag("--json", args->json, "{text, ids}");
  r->callback([args] { render(*args); });
}

}  // namespace cli
