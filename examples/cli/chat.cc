// v4infer chat: a conversation in the terminal, or line by line from another program.
#include <cerrno>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

#include "conversation.h"
#include "status.h"

namespace cli {
namespace {

constexpr char kHelp[] =
    "  /think off|on|low|high|max   how much the model thinks before it answers\n"
    "  /image FILE                  show an image with the next message; /image forgets them\n"
    "  /save FILE, /load FILE       the whole conversation, computed state included\n"
    "  /fork                        remember this point;  /back returns to it\n"
    "  /clear                       forget the conversation\n"
    "  /quit                        or Ctrl-D.  Ctrl-C stops an answer.\n";

struct Args {
  ModelArgs model;
  SampleArgs sample;
  ChatArgs chat;
  ImageArgs images;
  std::string system;
  bool json = false, stats = false;
};

class Chat {
 public:
  Chat(const Args& args, const Opened& opened)
      : args_(args),
        opened_(opened),
        now_(opened, args.sample, args.chat, args.system),
        images_(load_images(opened, args.images)) {}

  // Until /quit or the end of the input.
  void loop() {
    while (!done_) {
      const std::optional<std::string> line = read_line();
      if (!line) break;
      if (line->empty()) continue;
      try {
        if ((*line)[0] == '/')
          command(*line);
        else
          ask(*line);
      } catch (const std::exception& e) {
        failed(e.what());
      }
    }
  }

 private:
  bool human() const { return !args_.json && stdout_is_terminal(); }

  std::optional<std::string> read_line() {
    std::string line;
    while (true) {
      if (human()) print_text("> ");
      errno = 0;
      if (std::getline(std::cin, line)) return line;
      if (errno != EINTR) return std::nullopt;  // Ctrl-C only drops the line
      std::cin.clear();
      std::clearerr(stdin);
      if (human()) print_text("\n");
    }
  }

  void failed(const char* text) {
    if (args_.json) return print_json(Json{{"type", "error"}, {"text", text}});
    std::fprintf(stderr, "%s\n", text);
  }

  void say(const std::string& text) {
    if (args_.json) return print_json(Json{{"type", "info"}, {"text", text}});
    std::fprintf(stderr, "%s\n", text.c_str());
  }

  void ask(const std::string& text) {
    bool reasoning = false;
    const Answer answer =
        now_.ask(text, images_, !args_.json && stderr_is_terminal(), [&](const Json& e) {
          if (args_.json) return print_json(e);
          if (human() && (e["type"] == "reasoning") != reasoning) {
            print_text(reasoning ? "\x1b[0m\n" : "\x1b[2m");  // reasoning is dim
            reasoning = !reasoning;
          }
          if (e["type"] == "tool_call")
            print_text("\n[tool call] " + e["name"].get<std::string>() + " " +
                       e["arguments"].get<std::string>() + "\n");
          else
            print_text(e["text"].get<std::string>());
        });
    images_.clear();
    if (args_.json) {
      Json end{{"type", "end"}, {"finish", finish_name(answer.finish)}};
      end.update(speed_json(answer));
      if (args_.stats) end.update(status_json(status_of(opened_, args_.model, answer.hits)));
      return print_json(end);
    }
    print_text(reasoning ? "\x1b[0m\n" : "\n");
    if (stderr_is_terminal())
      std::fprintf(stderr, "[%s%s]\n", speed_text(answer).c_str(),
                   answer.finish == V4I_FINISH_CANCELLED ? ", stopped" : "");
    if (args_.stats)
      std::fprintf(stderr, "[%s]\n",
                   status_text(status_of(opened_, args_.model, answer.hits)).c_str());
  }

  void command(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : plain(line.substr(space + 1));
    if (name == "/quit" || name == "/exit") {
      done_ = true;
    } else if (name == "/image") {
      image(rest);
    } else if (name == "/save" && !rest.empty()) {
      now_.save(rest);
      say("saved to " + rest);
    } else if (name == "/load" && !rest.empty()) {
      now_.load(rest);
      images_.clear();
      say("loaded " + std::to_string(now_.turns()) + " turns");
    } else if (name == "/fork") {
      earlier_.push_back({now_.fork(), images_});
      say("forked at turn " + std::to_string(now_.turns()) + "; /back returns here");
    } else if (name == "/back") {
      if (earlier_.empty()) throw Failure("there is no /fork to go back to");
      now_ = std::move(earlier_.back().conversation);
      images_ = std::move(earlier_.back().images);
      earlier_.pop_back();
      say("back at turn " + std::to_string(now_.turns()));
    } else if (name == "/think" && is_think(rest)) {
      now_.chat().think = rest;
      say("thinking: " + rest);
    } else if (name == "/clear") {
      images_.clear();
      now_.clear();
    } else if (name == "/help") {
      say(kHelp);
    } else {
      throw Failure(line + ": not a command, or not all of it; /help shows them");
    }
  }

  // Without blanks and quotes around it, which terminals put there when a file is dropped.
  static std::string plain(std::string s) {
    const auto cut = [&](const char* these) {
      const std::size_t first = s.find_first_not_of(these), last = s.find_last_not_of(these);
      s = first == std::string::npos ? "" : s.substr(first, last - first + 1);
    };
    cut(" \t\r");
    if (s.size() >= 2 && s.front() == s.back() && (s.front() == '"' || s.front() == '\''))
      s = s.substr(1, s.size() - 2);
    return s;
  }

  void image(const std::string& path) {
    if (path.empty()) {
      images_.clear();
      return say("no image with the next message");
    }
    std::uint64_t tokens = 0;
    images_.push_back(load_image(opened_, path, args_.images.max_tokens, &tokens));
    say(path + ": " + (tokens > 0 ? std::to_string(tokens) + " tokens, " : std::string()) +
        "with the next message");
  }

  static bool is_think(const std::string& s) {
    return s == "off" || s == "on" || s == "low" || s == "high" || s == "max";
  }

  const Args& args_;
  const Opened& opened_;
  Conversation now_;
  ImageFiles images_;  // of the next message
  struct Point {
    Conversation conversation;
    ImageFiles images;
  };
  std::vector<Point> earlier_;  // by /fork
  bool done_ = false;
};

void chat(const Args& args) {
  const Opened opened = open_model(args.model);
  if (stderr_is_terminal() && !args.json)
    std::fprintf(stderr, "opened in %.2f s; /help shows the commands\n", opened.seconds);
  Chat(args, opened).loop();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* c = app.add_subcommand("chat", "talk with a model");
  add_model_args(*c, args->model);
  add_session_args(*c, args->model);
  add_sample_args(*c, args->sample);
  add_chat_args(*c, args->chat);
  add_image_args(*c, args->images,
                 "an image of the first message; may be given several times (DeepSeek-V4.1)");
  c->add_option("--system", args->system, "the system message");
  c->add_flag("--stats", args->stats, "say after each answer where its memory is, on stderr");
  c->add_flag("--json", args->json, "events as JSON lines on stdout; one message per input line");
  c->callback([args] { chat(*args); });
}

}  // namespace cli
