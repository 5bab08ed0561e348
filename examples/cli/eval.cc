// v4infer eval: the logits of every position of a token list, as a .npy file or their SHA-256,
// and greedy continuations.
#include <algorithm>
#include <memory>

#include "common.h"
#include "interrupt.h"
#include "npy.h"
#include "sha256.h"

namespace cli {
namespace {

struct Args {
  ModelArgs model;
  std::string ids, out;
  int chunk = 0, next = 0;
  bool sha256 = false, json = false;
};

// Few enough rows at a time that a large vocabulary stays small in memory, and a
// whole number of chunks, so that --chunk means what it says.
std::size_t rows_at_a_time(int chunk) {
  constexpr std::size_t kRows = 512;
  if (chunk == 0) return kRows;
  const auto c = static_cast<std::size_t>(chunk);
  return c * std::max<std::size_t>(1, kRows / c);
}

// The most likely token after the last one; ties to the lower id.
v4i_token best(const std::vector<float>& logits, std::size_t vocab) {
  const auto last = logits.end() - static_cast<std::ptrdiff_t>(vocab);
  return static_cast<v4i_token>(std::max_element(last, logits.end()) - last);
}

void eval(const Args& a) {
  const std::vector<v4i_token> ids = read_ids(a.ids);
  if (ids.empty()) throw Failure(a.ids + ": holds no token ids");
  const Opened opened = open_model(a.model);
  const std::size_t vocab = take(opened.model.info()).vocab_size;
  v4infer::Session session = take(v4infer::Session::create(opened.model, opened.session_options()));
  std::unique_ptr<NpyWriter> npy;
  if (!a.out.empty()) npy = std::make_unique<NpyWriter>(a.out, ids.size(), vocab);

  Running running;
  auto run = v4infer::init<v4i_run_options>();
  run.cancel = running.token();
  run.chunk_tokens = a.chunk;
  std::vector<float> logits;
  Sha256 hash;
  const std::size_t piece = rows_at_a_time(a.chunk);
  for (std::size_t at = 0; at < ids.size(); at += piece) {
    const std::size_t end = std::min(ids.size(), at + piece);
    const v4infer::Tokens part(ids.begin() + static_cast<std::ptrdiff_t>(at),
                               ids.begin() + static_cast<std::ptrdiff_t>(end));
    logits = take(session.eval(part, vocab, run));
    if (npy) npy->write(logits.data(), logits.size());
    if (a.sha256) hash.update(logits.data(), logits.size() * sizeof logits[0]);
  }
  if (npy) npy->close();
  const std::string sha256 = a.sha256 ? hash.finish() : "";
  const v4i_token eos = v4i_token_special(opened.model.get(), V4I_SPECIAL_EOS);
  std::vector<v4i_token> next;
  for (int i = 0; i < a.next; ++i) {
    next.push_back(best(logits, vocab));
    if (next.back() == eos || i + 1 == a.next) break;
    logits = take(session.eval({next.back()}, vocab, run));
  }
  if (a.json) {
    Json out{{"tokens", ids.size()}, {"vocab", vocab}, {"mode", a.model.mode}};
    if (!a.out.empty()) out["out"] = a.out;
    if (a.sha256) out["sha256"] = sha256;
    if (a.next > 0) out["next"] = next;
    return print_json(out);
  }
  if (a.sha256) print_text(sha256 + "\n");
  if (a.next > 0) print_json(Json(next));
}

}  // namespace

void add_eval(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* c = app.add_subcommand("eval", "logits of every position");
  add_model_args(*c, args->model);
  add_session_args(*c, args->model);
  c->add_option("--ids", args->ids,
                "JSON file with an array of token ids, or an object with \"ids\"; - is stdin")
      ->required();
  auto* out = c->add_option("--out", args->out, "write float32 logits [tokens, vocab] as .npy");
  auto* sha256 = c->add_flag("--sha256", args->sha256, "print the SHA-256 of these logits' bytes");
  c->add_option("--chunk", args->chunk, "tokens computed together; the result is the same")
      ->check(CLI::Range(0, 1 << 20));
  auto* next = c->add_option("--next", args->next, "print this many greedy next ids as JSON")
                   ->check(CLI::Range(1, 1 << 20));
  c->add_flag("--json", args->json, "a JSON object on stdout");
  c->callback([args, out, sha256, next] {
    if (out->count() + sha256->count() + next->count() == 0)
      throw CLI::RequiredError("--out, --sha256 or --next");
    eval(*args);
  });
}

}  // namespace cli
