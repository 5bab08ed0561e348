// v4infer bench: tokens per second, and what the machine would allow.
#include "bench.h"

#include <algorithm>
#include <memory>
#include <thread>

namespace cli {
namespace {

void bench(BenchArgs args) {
  const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  Peaks peaks(args.model.threads > 0 ? args.model.threads : all);
  if (args.context > 0)  // the decoded tokens need room too
    args.model.context +=
        static_cast<std::uint32_t>(std::max(args.prefill, args.decode * (args.repeat + 2)));
  Bench run(args, peaks);
  const BenchResult result = run.run();
  const Json report = bench_json(args, run, result, peaks);
  if (args.json)
    print_json(report);
  else
    print_bench(report);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto args = std::make_shared<BenchArgs>();
  CLI::App* c = app.add_subcommand("bench", "tokens per second of this machine");
  add_model_args(*c, args->model);
  add_session_args(*c, args->model);
  c->add_option("--prefill", args->prefill, "prompt tokens")->check(CLI::Range(1, 1 << 20));
  c->add_option("--decode", args->decode, "tokens one by one, after the prompt or --context tokens")
      ->check(CLI::Range(1, 1 << 20));
  c->add_option("--sessions", args->sessions, "also step this many sessions together")
      ->check(CLI::Range(1, 256));
  c->add_option("--repeat", args->repeat, "repetitions of each measurement; medians are shown")
      ->check(CLI::Range(1, 100));
  c->add_flag("--profile", args->profile, "a roofline table: bytes and time, part by part");
  auto* tiers = c->add_flag("--tiers", args->tiers,
                            "decode with memory for less and less of the KV state, as CSV; "
                            "--context tokens before it (4096), --disk or a folder for the time");
  c->add_option("--svg", args->svg, "write a chart of --tiers")->needs(tiers);
  c->add_flag("--json", args->json, "one JSON object on stdout");
  c->callback([args] {
    args->context = static_cast<int>(args->model.context);
    if (args->tiers && args->model.ram != 0)
      throw CLI::ValidationError("--tiers", "chooses --ram itself");
    if (args->tiers)
      bench_tiers(*args);
    else
      bench(*args);
  });
}

}  // namespace cli
