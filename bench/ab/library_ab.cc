// Two builds of libv4infer.so in one process, in turns: decode, and short prompts.
//
// Both open the same model and compute the same tokens, eight of them at a time, A and B
// changing places every round.  What counts is the median of the ratios of neighbouring turns: a
// shared machine changes its speed by more than most changes gain.  The structs are those of this
// build's header, of which an older library reads the part that it knows.
#include <dlfcn.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "include/v4infer/context.hpp"

namespace {

using v4infer::init;
using v4infer::Tokens;

// One build, with a session of the model.
class Library {
 public:
  Library(const std::string& path, const std::string& model, std::size_t context, int threads)
      : handle_(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(::dlerror());
    auto engine = init<v4i_engine_options>();
    engine.abi_version = V4I_ABI_VERSION;
    engine.thread_count = threads;
    v4i_engine* e = nullptr;
    call<decltype(v4i_engine_create)>("v4i_engine_create", &engine, &e);
    auto options = init<v4i_model_options>();
    options.path = model.c_str();
    options.context_hint = static_cast<std::uint32_t>(context);
    v4i_model* m = nullptr;
    call<decltype(v4i_model_open)>("v4i_model_open", e, &options, &m);
    call<decltype(v4i_session_create)>("v4i_session_create", m, nullptr, &session_);
    auto info = init<v4i_model_info>();
    call<decltype(v4i_model_get_info)>("v4i_model_get_info", m, &info);
    vocab_ = info.vocab_size;
  }

  std::uint32_t vocab() const { return vocab_; }
  // Seconds for `tokens`, in runs of `together`.
  double compute(const v4i_token* tokens, std::size_t n, std::size_t together) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < n; i += together) {
      call<decltype(v4i_session_append_tokens)>("v4i_session_append_tokens", session_, tokens + i,
                                                std::min(together, n - i));
      call<decltype(v4i_session_prefill)>("v4i_session_prefill", session_, nullptr);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  template <class F, class... Args>
  void call(const char* name, Args... args) {
    auto* f = reinterpret_cast<F*>(::dlsym(handle_, name));
    if (f == nullptr) throw std::runtime_error(std::string("there is no ") + name);
    v4i_error* error = nullptr;
    if (f(args..., &error) == V4I_OK) return;
    auto* text =
        reinterpret_cast<decltype(v4i_error_message)*>(dlsym(handle_, "v4i_error_message"));
    throw std::runtime_error(text(error));
  }

  void* handle_;  // stays open: its threads end with the process
  v4i_session* session_ = nullptr;
  std::uint32_t vocab_ = 0;
};

struct Args {
  std::string a, b, model;
  std::size_t context = 256, prompt = 64;
  int rounds = 50, threads = 0;
};

void print(const char* what, std::vector<double> ratios, double a, double b) {
  std::sort(ratios.begin(), ratios.end());
  const std::size_t n = ratios.size();
  std::printf(
      "%-7s B is %.3f times as fast as A (quarters %.3f to %.3f); a token %.3f and %.3f ms\n", what,
      ratios[n / 2], ratios[n / 4], ratios[3 * n / 4], 1e3 * a, 1e3 * b);
}

void run(const Args& args) {
  constexpr std::size_t kDecode = 8;
  constexpr int kWarm = 2;
  const auto rounds = static_cast<std::size_t>(args.rounds + kWarm);
  const std::size_t all = args.context + rounds * (kDecode + args.prompt);
  Library sides[] = {{args.a, args.model, all, args.threads},
                     {args.b, args.model, all, args.threads}};
  Tokens tokens(all);
  std::uint64_t x = 1;
  for (v4i_token& t : tokens) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    t = static_cast<v4i_token>((x >> 33) % sides[0].vocab());
  }
  for (Library& side : sides) side.compute(tokens.data(), args.context, args.context);
  std::size_t at = args.context;
  std::vector<double> ratios[2];
  double total[2][2] = {};
  for (std::size_t round = 0; round < rounds; ++round)
    for (const int prompt : {0, 1}) {
      const std::size_t n = prompt != 0 ? args.prompt : kDecode;
      double seconds[2];
      for (std::size_t turn = 0; turn < 2; ++turn) {
        const std::size_t side = (turn + round) % 2;
        seconds[side] = sides[side].compute(&tokens[at], n, prompt != 0 ? n : 1);
      }
      at += n;
      if (round < kWarm) continue;
      ratios[prompt].push_back(seconds[0] / seconds[1]);
      for (int side = 0; side < 2; ++side)
        total[prompt][side] += seconds[side] / static_cast<double>(n) / args.rounds;
    }
  print("decode:", ratios[0], total[0][0], total[0][1]);
  print("prompt:", ratios[1], total[1][0], total[1][1]);
}

}  // namespace

int main(int argc, char** argv) try {
  Args args;
  CLI::App app("two builds of libv4infer.so in turns", "library_ab");
  app.add_option("a", args.a, "libv4infer.so of one build")->required();
  app.add_option("b", args.b, "and of the other")->required();
  app.add_option("model", args.model, "folder of the model")->required();
  app.add_option("--context", args.context, "tokens before")->check(CLI::Range(1, 1 << 20));
  app.add_option("--prompt", args.prompt, "tokens of the prompts")->check(CLI::Range(1, 1 << 16));
  app.add_option("--rounds", args.rounds)->check(CLI::Range(1, 100000));
  app.add_option("--threads", args.threads, "0 = physical cores");
  CLI11_PARSE(app, argc, argv);
  run(args);
  std::fflush(stdout);
  std::_Exit(0);  // two libraries' threads are still there
} catch (const std::exception& e) {
  std::fprintf(stderr, "library_ab: %s\n", e.what());
  return 1;
}
