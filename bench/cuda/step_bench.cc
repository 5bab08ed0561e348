// Whole models on a backend: prompts, decode behind short and long contexts, several sequences
// together, with all experts on the device and with a share of them.  CSV; README.md has the
// columns.
//
// Contexts that are not longer than the longest prompt are computed, longer ones are made up
// (bench/support): rows of valid random codes.
#include <algorithm>
#include <chrono>

#include "bench/support/whole.h"
#include "lib/base/error.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

struct Wishes {
  std::string backend = "cuda:0", library, parts;
  std::vector<std::int64_t> prompts = {512, 4096}, contexts = {512}, sessions = {1};
  std::vector<double> shares = {1};
  std::int64_t chunk = 4096;
  int tokens = 64;
  double bandwidth = 0;  // GB/s, of the column "of bandwidth"
};
Wishes g;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Bytes of all routed experts.
double expert_bytes(const model::Model& m) {
  double sum = 0;
  const auto layers = m.weights().layers.size() + m.weights().mtp.size();
  for (std::size_t l = 0; l < layers; ++l)
    for (const model::Expert& e : m.block(static_cast<int>(l)).ffn.experts)
      model::for_each_linear(e, [&](const Weight& w) {
        sum += static_cast<double>(w.data_bytes() + w.scale_bytes());
      });
  return sum;
}

std::shared_ptr<session::Context> open(const bench::Options& options, std::uint64_t device_bytes) {
  session::EngineOptions engine;
  engine.threads = options.threads;
  engine.backend.isa = options.isa;
  engine.backend.name = g.backend;
  engine.backend.cuda_library = g.library;
  engine.device_bytes = device_bytes;
  session::OpenOptions open_options;
  open_options.path = options.model;
  open_options.numerics = options.numerics;
  open_options.max_batch_tokens = static_cast<int>(g.chunk);
  return session::Context::open(std::make_shared<session::Engine>(engine), open_options);
}

// One open model; what its lines of CSV begin with.
class Bench {
 public:
  Bench(std::shared_ptr<session::Context> context, double share, double open_seconds)
      : context_(std::move(context)), share_(share) {
    line("open", 0, 1, 1, {open_seconds}, 0);
  }

  void prompt(std::int64_t tokens, int repeat) {
    const auto ids = bench::some_tokens(tokens, context_->vocab(), 1);
    std::vector<double> seconds;
    for (int i = 0; i <= repeat; ++i) {  // the first one warms up
      kv::State state = fresh();
      const auto start = Clock::now();
      compute(state, ids, nullptr);
      if (i > 0) seconds.push_back(seconds_since(start));
    }
    line("prefill", tokens, 1, static_cast<double>(tokens), seconds, 0);
    forward::Profile profile;
    kv::State state = fresh();
    compute(state, ids, &profile);
    parts("prefill", tokens, 1, profile.prefill(), static_cast<double>(tokens));
  }

  void decode(std::int64_t context, std::int64_t sessions) {
    std::vector<kv::State> states;
    for (std::int64_t i = 0; i < sessions; ++i)
      states.push_back(behind(context, static_cast<std::uint64_t>(i) + 1));
    for (int i = 0; i < 3; ++i) step(states, i, nullptr);  // graphs are made
    std::vector<double> seconds;
    for (int i = 0; i < g.tokens; ++i) {
      const auto start = Clock::now();
      step(states, i + 3, nullptr);
      seconds.push_back(seconds_since(start));
    }
    forward::Profile profile;
    const int profiled = std::min(g.tokens, 8);
    for (int i = 0; i < profiled; ++i) step(states, g.tokens + i, &profile);
    line("decode", context, sessions, static_cast<double>(sessions), seconds,
         bench::sum(profile.decode().bytes) / profiled);
    parts("decode", context, sessions, profile.decode(), profiled);
  }

 private:
  kv::State fresh() { return {context_->layout(), context_->cache(), context_->identity()}; }

  void compute(kv::State& state, std::span<const std::int32_t> ids, forward::Profile* profile) {
    logits_.resize(static_cast<std::size_t>(context_->vocab()));
    const auto chunk = static_cast<std::size_t>(g.chunk);
    for (std::size_t at = 0; at < ids.size(); at += chunk) {
      const auto part = ids.subspan(at, std::min(chunk, ids.size() - at));
      const bool last = at + part.size() == ids.size();
      const forward::Item item{&state, part, last ? logits_.data() : nullptr};
      context_->forward().run({&item, 1}, nullptr, profile);
    }
  }

  kv::State behind(std::int64_t context, std::uint64_t seed) {
    kv::State state = fresh();
    const std::int64_t most = *std::max_element(g.prompts.begin(), g.prompts.end());
    const std::int64_t fits = std::min(context, context_->context_max() - g.tokens - 16);
    if (fits <= most)
      compute(state, bench::some_tokens(fits, context_->vocab(), seed), nullptr);
    else
      bench::make_history(state, fits, context_->vocab(), seed);
    return state;
  }

  void step(std::vector<kv::State>& states, int i, forward::Profile* profile) {
    const auto vocab = static_cast<std::size_t>(context_->vocab());
    logits_.resize(states.size() * vocab);
    const auto ids = bench::some_tokens(static_cast<std::int64_t>(states.size()), context_->vocab(),
                                        static_cast<std::uint64_t>(i) + 7);
    std::vector<forward::Item> items;
    for (std::size_t s = 0; s < states.size(); ++s)
      items.push_back({&states[s], {&ids[s], 1}, logits_.data() + s * vocab});
    context_->forward().run(items, nullptr, profile);
  }

  // `seconds` of each repetition, of `tokens` tokens; `bytes`: weights and rows of one.
  void line(const char* what, std::int64_t context, std::int64_t sessions, double tokens,
            std::vector<double> seconds, double bytes) {
    std::sort(seconds.begin(), seconds.end());
    const auto at = [&](double part) {
      return seconds[static_cast<std::size_t>(part * static_cast<double>(seconds.size() - 1) +
                                              0.5)];
    };
    const Budget& budget = context_->engine().budget();
    std::printf("%s,%s,%d,%.2f,%s,%lld,%lld,%.6f,%.6f,%.6f,%.2f,%.0f,%.2f,", g.backend.c_str(),
                context_->forward().identity().c_str(), context_->engine().pool().size(), share_,
                what, static_cast<long long>(context), static_cast<long long>(sessions), at(0.5),
                at(0.1), at(0.9), tokens / at(0.5), bytes, bytes / at(0.5) / 1e9);
    if (g.bandwidth > 0 && bytes > 0) std::printf("%.3f", bytes / at(0.5) / 1e9 / g.bandwidth);
    std::printf(",%.3f\n", static_cast<double>(budget.used(Place::kDevice)) / (1 << 30));
    std::fflush(stdout);
  }

  void parts(const char* what, std::int64_t context, std::int64_t sessions,
             const forward::Profile::Totals& totals, double units) {
    if (g.parts.empty()) return;
    std::FILE* out = std::fopen(g.parts.c_str(), "a");
    if (out == nullptr) return;
    for (int i = 0; i < model::kPartCount; ++i) {
      const auto part = static_cast<model::Part>(i);
      std::fprintf(out, "%s,%.2f,%s,%lld,%lld,%s,%.9f,%.0f,%.0f\n", g.backend.c_str(), share_, what,
                   static_cast<long long>(context), static_cast<long long>(sessions),
                   model::part_name(part), static_cast<double>(totals.ns[part]) / 1e9 / units,
                   static_cast<double>(totals.bytes[part]) / units,
                   static_cast<double>(totals.flops[part]) / units);
    }
    std::fclose(out);
  }

  std::shared_ptr<session::Context> context_;
  double share_;
  std::vector<float> logits_;
};

// What the device may use so that this share of the experts fits: an eighth is left to KV rows.
std::uint64_t cap_of(double fixed, double experts, double share) {
  return static_cast<std::uint64_t>((fixed + experts * share * 1.01) * 8 / 7);
}

// What does not fit is left out.
template <class Body>
void tried(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    if (e.code() != Code::kNoMemory) throw;
    std::fprintf(stderr, "left out: %s\n", e.what());
  }
}

void measure(bench::Program& program) {
  const bench::Options& options = program.options();
  if (options.header)
    std::puts(
        "backend,identity,threads,experts on device,bench,context,sessions,seconds,p10,p90,"
        "tokens/s,bytes,GB/s,of bandwidth,device GiB");
  double fixed = 0, experts = 0;
  for (const double share : g.shares) {
    const auto start = Clock::now();
    auto context = open(options, share < 1 ? cap_of(fixed, experts, share) : 0);
    if (share >= 1) {
      experts = expert_bytes(context->model());
      // What the CPU's experts add is [chunk, width].
      fixed = static_cast<double>(context->engine().budget().used(Place::kDevice)) - experts +
              4.0 * static_cast<double>(g.chunk * context->model().config().width);
    }
    Bench bench(std::move(context), share, seconds_since(start));
    // Experts on the CPU make prompts slow: a shorter list.
    for (const std::int64_t tokens : g.prompts)
      tried([&] { bench.prompt(tokens, share < 1 ? 1 : options.repeat); });
    for (const std::int64_t tokens : share < 1 ? std::vector{g.contexts.front()} : g.contexts)
      for (const std::int64_t sessions : g.sessions) tried([&] { bench.decode(tokens, sessions); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("cuda_step_bench", "whole models on a backend, as CSV");
  CLI::App& app = program.app();
  app.add_option("--backend", g.backend, "cpu, cuda:0");
  app.add_option("--library", g.library, "the plug-in of cuda:0; default: beside this program");
  app.add_option("--prompts", g.prompts, "tokens")->delimiter(',');
  app.add_option("--contexts", g.contexts, "tokens before the decoded ones")->delimiter(',');
  app.add_option("--sessions", g.sessions, "sequences stepped together")->delimiter(',');
  app.add_option("--shares", g.shares, "of the experts on the device; the first one is 1")
      ->delimiter(',');
  app.add_option("--chunk", g.chunk, "tokens of one forward run");
  app.add_option("--tokens", g.tokens, "decoded one by one");
  app.add_option("--bandwidth", g.bandwidth, "GB/s of the device's memory");
  app.add_option("--parts", g.parts, "a file for lines of each part");
  return program.run(argc, argv, measure);
}
