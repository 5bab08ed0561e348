// What n-gram tables on disk cost a decoded token: a slice of V4.1 (engram/make_slice.py, with
// engram/make_table.py) with its tables in memory, and read from disk past the page cache, begun
// with the run or when the rows are wanted.  The ways take turns, token by token, with the same
// ids; ids are random, so nearly every row has to be read.  CSV: medians and means in ms.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include "lib/base/cores.h"
#include "lib/base/error.h"
#include "lib/forward/cpu/backend.h"
#include "lib/forward/forward.h"
#include "lib/store/block_cache.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

struct Args {
  std::string folder;
  int tokens = 64, threads = 0;
  double cache_mb = 256;
};

// One way to the rows, with a sequence of its own.
struct Way {
  const char* name;
  std::shared_ptr<engram::Tables> tables;
  std::unique_ptr<forward::Forward> forward;
  std::unique_ptr<kv::State> state;
  std::vector<double> ms;
};

struct Bench {
  Budget budget;
  ThreadPool pool;
  std::shared_ptr<const model::Model> model;
  forward::cpu::CpuBackend backend;
  store::BlockCache cache;

  explicit Bench(const Args& a)
      : pool(a.threads > 0 ? a.threads : thread_counts({}).threads),
        model(model::Model::open(a.folder)),
        backend("", pool, budget),
        cache(backend.memory()) {}

  Way way(const char* name, const Args& a, bool resident, bool synchronous) {
    engram::Options o;
    o.cache_bytes = static_cast<std::uint64_t>(a.cache_mb * (1 << 20));
    o.resident = resident;
    o.synchronous = synchronous;
    o.direct = true;
    forward::Options forward_options;
    forward_options.max_tokens = 8;
    o.max_tokens = forward_options.max_tokens;
    Way w{name, nullptr, nullptr, nullptr, {}};
    w.tables = std::make_shared<engram::Tables>(
        model, engram::ClassMap::from_file(model->checkpoint().folder(), model->config()),
        std::make_shared<store::ReadQueue>(), budget, o);
    w.forward = std::make_unique<forward::Forward>(model, backend, forward_options,
                                                   forward::Lookups{nullptr, w.tables});
    w.state = std::make_unique<kv::State>(std::make_shared<kv::Layout>(w.forward->layout()), cache,
                                          model->digest());
    return w;
  }
};

void step(Way& w, std::int32_t id, float* logits) {
  const auto start = Clock::now();
  forward::Item item;
  item.state = w.state.get();
  item.tokens = {&id, 1};
  item.logits = logits;
  w.forward->run({&item, 1}, nullptr);
  w.ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

int run(const Args& a) {
  Bench b(a);
  std::vector<Way> ways;
  ways.push_back(b.way("memory", a, true, false));
  ways.push_back(b.way("disk", a, false, false));
  ways.push_back(b.way("disk, when wanted", a, false, true));
  std::vector<float> first(static_cast<std::size_t>(b.model->config().vocab)), logits(first);
  std::mt19937 random(1);
  constexpr int kWarm = 8;
  bool equal = true;
  for (int t = 0; t < kWarm + a.tokens; ++t) {
    const auto id =
        static_cast<std::int32_t>(random() % static_cast<unsigned>(b.model->config().vocab));
    for (std::size_t i = 0; i < ways.size(); ++i) {
      const std::size_t k = (i + static_cast<std::size_t>(t)) % ways.size();
      step(ways[k], id, i == 0 ? first.data() : logits.data());
      equal = equal && first == (i == 0 ? first : logits);
    }
    if (t + 1 == kWarm)
      for (Way& w : ways) w.ms.clear();
  }
  std::printf("way,median_ms,mean_ms,ratio_of_medians,reads_per_token,wait_ms_per_token,hits\n");
  for (Way& w : ways) {
    const engram::Stats s = w.tables->stats();
    const double n = a.tokens + kWarm;
    double sum = 0;
    for (const double v : w.ms) sum += v;
    std::printf(
        "\"%s\",%.3f,%.3f,%.4f,%.1f,%.3f,%.3f\n", w.name, median(w.ms),
        sum / static_cast<double>(w.ms.size()), median(w.ms) / median(ways[0].ms),
        static_cast<double>(s.reads) / n, static_cast<double>(s.wait_ns) / 1e6 / n,
        static_cast<double>(s.hits) / static_cast<double>(std::max<std::uint64_t>(s.lookups, 1)));
  }
  if (!equal) std::fprintf(stderr, "the logits differ\n");
  return equal ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("decode with n-gram tables in memory and on disk");
  Args a;
  app.add_option("folder", a.folder, "of engram/make_slice.py and make_table.py")->required();
  app.add_option("--tokens", a.tokens, "of each way");
  app.add_option("--threads", a.threads, "0: physical cores");
  app.add_option("--cache-mb", a.cache_mb, "of rows that are kept");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(a);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.text().c_str());
    return 1;
  }
}
