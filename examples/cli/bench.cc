// v4infer bench: tokens per second, and what the machine's memory allows.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <thread>

#include "common.h"
#include "interrupt.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Args {
  ModelArgs model;
  int prefill = 128, decode = 32;
  bool json = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Token ids without a pattern, the same in every run.
v4infer::Tokens some_tokens(std::size_t n, std::uint32_t vocab) {
  v4infer::Tokens out;
  for (std::uint64_t x = 1; out.size() < n;) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    out.push_back(static_cast<v4i_token>((x >> 33) % vocab));
  }
  return out;
}

std::uint64_t sum(const std::uint64_t* p, std::size_t n) {
  std::uint64_t lanes[8] = {};
  for (std::size_t i = 0; i + 8 <= n; i += 8)
    for (std::size_t k = 0; k < 8; ++k) lanes[k] += p[i + k];
  return std::accumulate(lanes, lanes + 8, std::uint64_t{0});
}

// Bytes per second when every thread reads its share of 512 MiB: the bound of decode.
double read_bandwidth(int threads) {
  constexpr std::size_t kWords = (std::size_t{512} << 20) / 8;
  std::vector<std::uint64_t> data(kWords, 1);
  const std::size_t share = kWords / static_cast<std::size_t>(threads);
  double best = 0;
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
  for (int round = 0; round < 4; ++round) {
    const auto start = Clock::now();
    std::vector<std::thread> workers;
    for (std::size_t t = 0; t < sums.size(); ++t)
      workers.emplace_back([&, t] { sums[t] = sum(data.data() + t * share, share); });
    for (std::thread& w : workers) w.join();
    const double bytes = static_cast<double>(8 * share * sums.size());
    if (sums[0] != 0) best = std::max(best, bytes / seconds_since(start));
  }
  return best;
}

std::uint64_t peak_rss() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

struct Speeds {
  double prefill = 0, decode = 0;
};

Speeds measure(const Args& a, const v4infer::Model& model, std::uint32_t vocab) {
  Running running;
  auto run = v4infer::init<v4i_run_options>();
  run.cancel = running.token();
  v4infer::Session session = take(v4infer::Session::create(model));
  const v4infer::Tokens prompt = some_tokens(static_cast<std::size_t>(a.prefill + a.decode), vocab);
  const auto middle = prompt.begin() + a.prefill;
  // The weights that are used are in memory afterwards; the first pass also scans them.
  check(session.append(v4infer::Tokens(prompt.begin(), middle)));
  check(session.prefill(run));
  check(session.rewind(0));

  Speeds out;
  auto start = Clock::now();
  check(session.append(v4infer::Tokens(prompt.begin(), middle)));
  check(session.prefill(run));
  out.prefill = a.prefill / seconds_since(start);
  // Decode as sampling does, one token after the other, without its randomness: the
  // same experts are met in every run.
  start = Clock::now();
  for (auto t = middle; t != prompt.end(); ++t) {
    check(session.append({*t}));
    check(session.prefill(run));
  }
  out.decode = a.decode / seconds_since(start);
  return out;
}

void bench(const Args& a) {
  Json out;
  {
    const Opened opened = open_model(a.model);
    const v4i_model_info info = take(opened.model.info());
    const Json d = Json::parse(take(opened.model.describe()));
    const Speeds speeds = measure(a, opened.model, info.vocab_size);
    const auto per_token = d["sizes"]["weight_bytes_per_token"].get<std::uint64_t>();
    auto device = v4infer::init<v4i_device_info>();
    v4i_engine_device_info(opened.engine.get(), 0, &device, nullptr);
    out = Json{{"model", a.model.path},
               {"cpu", device.name},
               {"isa", device.arch},
               {"prefill_tokens", a.prefill},
               {"decode_tokens", a.decode},
               {"prefill_tokens_per_s", speeds.prefill},
               {"decode_tokens_per_s", speeds.decode},
               {"weight_bytes_per_token", per_token},
               {"weight_bytes_per_s", speeds.decode * static_cast<double>(per_token)},
               {"open_seconds", opened.seconds},
               {"peak_rss_bytes", peak_rss()}};
  }
  const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int threads = a.model.threads > 0 ? a.model.threads : all;
  out["read_bandwidth_bytes_per_s"] = read_bandwidth(threads);
  if (a.json) return print_json(out);
  const auto number = [&](const char* key) { return out[key].get<double>(); };
  std::printf("%s, %s kernels\n", out["cpu"].get<std::string>().c_str(),
              out["isa"].get<std::string>().c_str());
  std::printf("  open     %.3f s, peak memory %s\n", number("open_seconds"),
              human_bytes(number("peak_rss_bytes")).c_str());
  std::printf("  prefill  %.2f tokens/s (%d tokens)\n", number("prefill_tokens_per_s"), a.prefill);
  std::printf("  decode   %.2f tokens/s (%d tokens)\n", number("decode_tokens_per_s"), a.decode);
  std::printf("  weights  %s per token, %s/s while decoding; memory reads at %s/s\n",
              human_bytes(number("weight_bytes_per_token")).c_str(),
              human_bytes(number("weight_bytes_per_s")).c_str(),
              human_bytes(number("read_bandwidth_bytes_per_s")).c_str());
}

}  // namespace

void add_bench(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* c = app.add_subcommand("bench", "tokens per second of this machine");
  add_model_args(*c, args->model);
  c->add_option("--prefill", args->prefill, "prompt tokens")->check(CLI::Range(1, 1 << 20));
  c->add_option("--decode", args->decode, "tokens one by one")->check(CLI::Range(1, 1 << 20));
  c->add_flag("--json", args->json, "one JSON object on stdout");
  c->callback([args] { bench(*args); });
}

}  // namespace cli
