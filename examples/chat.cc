// chat.cc: a conversation, on the C++ wrappers.  usage: chat MODEL
//
// The whole conversation is rendered again for every answer; sync() keeps the part
// that the session has already computed, so only the new turn costs time.
#include <cstdio>
#include <iostream>
#include <string>
#include <v4infer/session.hpp>

namespace {

std::string quoted(const std::string& text) {  // as a JSON string
  std::string out = "\"";
  for (const char c : text) {
    char code[8];
    std::snprintf(code, sizeof code, "\\u%04x", c);
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += code;
    else
      out += c;
  }
  return out + "\"";
}

std::string message(const char* role, const std::string& text) {
  return std::string("{\"role\": \"") + role + "\", \"content\": " + quoted(text) + "}";
}

int complain(const v4infer::Error& e) {
  std::fprintf(stderr, "chat: %s\n", e.message());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto engine = v4infer::Engine::create();
  auto model = v4infer::Model::open(*engine, argv[1]);
  if (!model) return complain(model.error());
  auto session = v4infer::Session::create(*model);
  if (!session) return complain(session.error());

  std::string messages;
  for (std::string line; std::printf("> "), std::fflush(stdout), std::getline(std::cin, line);) {
    if (!messages.empty()) messages += ", ";
    messages += message("user", line);
    auto prompt = model->chat("[" + messages + "]");
    if (!prompt) return complain(prompt.error());
    if (auto kept = session->sync(*prompt); !kept) return complain(kept.error());

    auto options = v4infer::init<v4i_generate_options>();
    options.max_tokens = 256;
    auto answer = session->generate(options, [](const v4i_step& step) {
      std::fwrite(step.text, 1, step.text_len, stdout);
      std::fflush(stdout);
      return false;  // true would stop
    });
    if (!answer) return complain(answer.error());
    std::puts("");
    messages += ", " + message("assistant", *answer);
  }
  return 0;
}
