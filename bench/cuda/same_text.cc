// A model's greedy answers on a backend against those on the CPU, and against those that were
// recorded: the same text?
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/support/whole.h"
#include "lib/session/session.h"

namespace {

using namespace v4i;

std::string g_backend = "cuda:0", g_library, g_answers;
std::size_t g_most = 100;

// The prompt as V4's chat template has it, thinking off.
std::string rendered(const std::string& question) {
  return "<\uff5cUser\uff5c>" + question + "<\uff5cAssistant\uff5c></think>";
}

std::shared_ptr<session::Context> open(const bench::Options& options, const std::string& backend) {
  session::EngineOptions engine;
  engine.threads = options.threads;
  engine.backend.isa = options.isa;
  engine.backend.name = backend;
  engine.backend.cuda_library = g_library;
  session::OpenOptions open_options;
  open_options.path = options.model;
  open_options.numerics = options.numerics;
  open_options.context_hint = 4096;
  return session::Context::open(std::make_shared<session::Engine>(engine), open_options);
}

std::string answer(const std::shared_ptr<session::Context>& context, const std::string& question) {
  session::Session s(context, {});
  sampling::Options greedy;
  greedy.greedy = true;
  s.set_sampler(std::make_shared<const sampling::Sampler>(greedy));
  s.append_text(rendered(question), true, true);
  session::GenerateOptions generate;
  generate.max_tokens = 80;
  return s.generate(generate, {}, nullptr);
}

void compare(bench::Program& program) {
  std::ifstream file(g_answers);
  const auto cases = nlohmann::json::parse(file);
  const auto here = open(program.options(), "cpu"), there = open(program.options(), g_backend);
  std::size_t same = 0, right = 0;
  const std::size_t count = std::min(cases.size(), g_most);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string question = cases[i]["prompt"], want = cases[i]["answer"];
    const std::string a = answer(here, question), b = answer(there, question);
    same += a == b ? 1 : 0;
    right += b == want ? 1 : 0;
    if (a != b) std::printf("cpu: %s\n%s: %s\n", a.c_str(), g_backend.c_str(), b.c_str());
  }
  std::printf("%s: %zu of %zu answers are the CPU's, %zu are those recorded\n", g_backend.c_str(),
              same, count, right);
  if (same != count) throw std::runtime_error("answers differ");
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("cuda_same_text", "a model's answers on a backend and on the CPU");
  program.app().add_option("--answers", g_answers, "JSON: [{prompt, answer}]")->required();
  program.app().add_option("--backend", g_backend, "cuda:0");
  program.app().add_option("--library", g_library, "the plug-in; default: beside this program");
  program.app().add_option("--most", g_most, "questions");
  return program.run(argc, argv, compare);
}
