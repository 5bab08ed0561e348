// v4infer eval: the logits of every position of a token list, with images if need be, as a .npy
// file or their SHA-256, and greedy continuations.
#include <algorithm>
#include <memory>

#include "common.h"
#include "image_case.h"
#include "image_file.h"
#include "interrupt.h"
#include "npy.h"
#include "sha256.h"

namespace cli {
namespace {

struct Args {
  ModelArgs model;
  std::string ids, image_case, out;
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

// What is evaluated: text, and images between it.
std::vector<CasePart> parts_of(const Args& a) {
  if (!a.image_case.empty()) return read_case(a.image_case);
  CasePart text;
  text.ids = read_ids(a.ids);
  if (text.ids.empty()) throw Failure(a.ids + ": holds no token ids");
  return {std::move(text)};
}

// Logits go where they are wanted, some rows at a time.
class Eval {
 public:
  Eval(const Args& args, const Opened& opened)
      : a_(args),
        vocab_(take(opened.model.info()).vocab_size),
        image_(opened.model.special(V4I_SPECIAL_IMAGE)),
        opened_(opened),
        session_(take(v4infer::Session::create(opened.model, opened.session_options()))) {
    run_.cancel = running_.token();
    run_.chunk_tokens = a_.chunk;
  }

  void text(const v4infer::Tokens& ids, NpyWriter* npy) {
    const std::size_t piece = rows_at_a_time(a_.chunk);
    for (std::size_t at = 0; at < ids.size(); at += piece) {
      const std::size_t end = std::min(ids.size(), at + piece);
      const v4infer::Tokens part(ids.begin() + static_cast<std::ptrdiff_t>(at),
                                 ids.begin() + static_cast<std::ptrdiff_t>(end));
      logits_ = take(session_.eval(part, vocab_, run_));
      keep(npy);
    }
  }

  void image(const CasePart& part, NpyWriter* npy) {
    auto trial = take(v4infer::Session::create(opened_.model));
    const std::uint64_t tokens = take(image_tokens(trial, part.view()));
    if (tokens != part.ids.size())
      throw Failure(a_.image_case + ": an image of " + std::to_string(part.grid_width) + " x " +
                    std::to_string(part.grid_height) + " patches has " +
                    std::to_string(part.ids.size()) + " ids, expected " + std::to_string(tokens));
    for (const v4i_token t : part.ids)
      if (t != image_)
        throw Failure(a_.image_case + ": an image has id " + std::to_string(t) + ", expected " +
                      std::to_string(image_));
    logits_ = take(session_.eval_media({image_}, {part.view()}, part.ids.size(), vocab_, run_));
    keep(npy);
  }

  std::vector<v4i_token> next(v4i_token eos) {
    std::vector<v4i_token> out;
    for (int i = 0; i < a_.next; ++i) {
      out.push_back(best(logits_, vocab_));
      if (out.back() == eos || i + 1 == a_.next) break;
      logits_ = take(session_.eval({out.back()}, vocab_, run_));
    }
    return out;
  }

  std::size_t vocab() const { return vocab_; }
  std::string sha256() { return hash_.finish(); }

 private:
  void keep(NpyWriter* npy) {
    if (npy != nullptr) npy->write(logits_.data(), logits_.size());
    if (a_.sha256) hash_.update(logits_.data(), logits_.size() * sizeof logits_[0]);
  }

  const Args& a_;
  const std::size_t vocab_;
  const v4i_token image_;
  const Opened& opened_;
  Running running_;
  v4i_run_options run_ = v4infer::init<v4i_run_options>();
  v4infer::Session session_;
  std::vector<float> logits_;
  Sha256 hash_;
};

void eval(const Args& a) {
  const std::vector<CasePart> parts = parts_of(a);
  std::size_t tokens = 0;
  for (const CasePart& p : parts) tokens += p.ids.size();
  const Opened opened = open_model(a.model);
  Eval eval(a, opened);
  std::unique_ptr<NpyWriter> npy;
  if (!a.out.empty()) npy = std::make_unique<NpyWriter>(a.out, tokens, eval.vocab());
  for (const CasePart& p : parts)
    if (p.image())
      eval.image(p, npy.get());
    else
      eval.text(p.ids, npy.get());
  if (npy) npy->close();
  const std::string sha256 = a.sha256 ? eval.sha256() : "";
  const std::vector<v4i_token> next =
      eval.next(v4i_token_special(opened.model.get(), V4I_SPECIAL_EOS));
  if (a.json) {
    Json out{{"tokens", tokens}, {"vocab", eval.vocab()}, {"mode", a.model.mode}};
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
  auto* ids = c->add_option("--ids", args->ids,
                            "JSON file with an array of token ids, or an object with \"ids\"; - is "
                            "stdin");
  auto* image_case =
      c->add_option("--case", args->image_case,
                    "JSON file with \"ids\" and \"images\", whose patches are in "
                    "images.safetensors beside it, as tests/oracle/make_tiny_v41.py writes them");
  ids->excludes(image_case);
  auto* out = c->add_option("--out", args->out, "write float32 logits [tokens, vocab] as .npy");
  auto* sha256 = c->add_flag("--sha256", args->sha256, "print the SHA-256 of these logits' bytes");
  c->add_option("--chunk", args->chunk, "tokens computed together; the result is the same")
      ->check(CLI::Range(0, 1 << 20));
  auto* next = c->add_option("--next", args->next, "print this many greedy next ids as JSON")
                   ->check(CLI::Range(1, 1 << 20));
  c->add_flag("--json", args->json, "a JSON object on stdout");
  c->callback([args, ids, image_case, out, sha256, next] {
    if (ids->count() + image_case->count() == 0) throw CLI::RequiredError("--ids or --case");
    if (out->count() + sha256->count() + next->count() == 0)
      throw CLI::RequiredError("--out, --sha256 or --next");
    eval(*args);
  });
}

}  // namespace cli
