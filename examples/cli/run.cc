// v4infer run: continues a prompt, or answers it with --chat.
#include <cstdio>
#include <memory>

#include "answer.h"
#include "common.h"
#include "image_file.h"

namespace cli {
namespace {

struct Args {
  ModelArgs model;
  SampleArgs sample;
  ImageArgs images;
  std::string prompt, file;
  bool chat = false, special = false, json = false, stats = false;
  int logprobs = 0;
};

std::string piece(const v4infer::Model& model, v4i_token token) {
  const char* text = nullptr;
  std::size_t len = 0;
  if (v4i_token_bytes(model.get(), token, &text, &len, nullptr) != V4I_OK) return {};
  return {text, len};
}

void append_prompt(const Args& a, const Opened& opened, v4infer::Session& session) {
  const std::string text = a.file.empty() ? a.prompt : read_file(a.file);
  const ImageFiles images = load_images(opened, a.images);
  if (a.chat) {
    const Json messages = Json::array({user_message(text, images.size())});
    return check(session.append_media(take(opened.model.chat(messages.dump())), views(images)));
  }
  check(session.append("", V4I_TOK_ADD_BOS));
  for (const v4i_image& i : views(images)) check(session.append_image(i));
  check(session.append(text, a.special ? V4I_TOK_PARSE_SPECIAL : 0u));
}

// The chosen token and the most likely ones at its place.
Json logprobs_json(const Args& a, const v4infer::Model& model, v4infer::Session& session,
                   const v4i_step& step) {
  const v4i_token token = step.tokens[step.token_count - 1];
  Json top = Json::array();
  for (const auto& p : take(session.top_probs(static_cast<std::size_t>(a.logprobs))))
    top.push_back(
        Json{{"token", p.token}, {"text", piece(model, p.token)}, {"logprob", p.logprob}});
  return Json{{"token", token},
              {"text", piece(model, token)},
              {"logprob", step.logprob},
              {"top", std::move(top)}};
}

// What a person asks next: how fast, and how much memory.
void print_stats(const Opened& opened, const v4infer::Session& session, const Answer& answer) {
  const v4i_session_info info = take(session.info());
  const v4i_memory_stats memory = take(opened.engine.memory());
  const double kv = static_cast<double>(info.kv_device_bytes + info.kv_host_bytes);
  const double per_token = info.position == 0 ? 0 : kv / static_cast<double>(info.position);
  const auto bytes = [](std::uint64_t n) { return human_bytes(static_cast<double>(n)); };
  std::fprintf(stderr, "[%s]\n", speed_text(answer).c_str());
  std::fprintf(stderr, "[KV of %llu tokens: %s, %.0f bytes per token]\n",
               static_cast<unsigned long long>(info.position), human_bytes(kv).c_str(), per_token);
  std::fprintf(
      stderr,
      "[memory: file %s mapped, weights %s, KV %s, scratch %s, peak %s; opened in %.2f s]\n",
      bytes(take(opened.model.info()).file_bytes).c_str(), bytes(memory.host_weights).c_str(),
      bytes(memory.host_kv).c_str(), bytes(memory.host_scratch).c_str(),
      bytes(memory.host_peak).c_str(), opened.seconds);
  if (!opened.disk) return;
  std::fprintf(stderr, "[disk: %s, %s of them this KV state; %llu tokens came from there]\n",
               bytes(memory.disk_kv).c_str(), bytes(info.kv_store_bytes).c_str(),
               static_cast<unsigned long long>(info.reused_tokens));
}

void run(const Args& a) {
  const Opened opened = open_model(a.model);
  v4infer::Session session = new_session(opened, a.sample);
  append_prompt(a, opened, session);
  Json logprobs = Json::array();
  const Answer answer = write_answer(
      session, a.sample, !a.json && (a.stats || stderr_is_terminal()), [&](const v4i_step& step) {
        if (!a.json) print_text({step.text, step.text_len});
        if (a.logprobs > 0 && step.token_count > 0)
          logprobs.push_back(logprobs_json(a, opened.model, session, step));
      });
  if (!a.json) {
    print_text("\n");
    if (a.stats)
      print_stats(opened, session, answer);
    else if (stderr_is_terminal())
      std::fprintf(stderr, "[%s]\n", speed_text(answer).c_str());
    for (const Json& l : logprobs) print_json(l);
    return;
  }
  Json out{{"text", answer.text}, {"finish", finish_name(answer.finish)}};
  out.update(speed_json(answer));
  if (a.logprobs > 0) out["logprobs"] = std::move(logprobs);
  print_json(out);
}

}  // namespace

void add_run(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* c = app.add_subcommand("run", "continue a prompt");
  add_model_args(*c, args->model);
  add_session_args(*c, args->model);
  add_sample_args(*c, args->sample);
  auto* prompt = c->add_option("--prompt", args->prompt, "the text to continue");
  auto* file = c->add_option("--prompt-file", args->file, "a file with the text; - is stdin");
  prompt->excludes(file);
  add_image_args(*c, args->images,
                 "an image before the prompt; may be given several times (DeepSeek-V4.1)");
  c->add_flag("--chat", args->chat, "the prompt is a user's message to answer");
  c->add_flag("--special", args->special, "special tokens written in the prompt are meant");
  c->add_option("--logprobs", args->logprobs, "show this many likely tokens for each chosen one")
      ->check(CLI::Range(0, 1000));
  c->add_flag("--stats", args->stats, "say how fast it was and what memory it took, on stderr");
  c->add_flag("--json", args->json, "one JSON object on stdout");
  c->callback([args, prompt, file] {
    if (prompt->count() + file->count() == 0) throw CLI::RequiredError("--prompt or --prompt-file");
    run(*args);
  });
}

}  // namespace cli
