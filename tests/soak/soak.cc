// soak: sessions of several threads at random, on one engine with a disk tier and a budget that
// goes up and down.
//
//   soak truth MODEL FILE STORIES TOKENS         once, without tiers
//   soak run MODEL FILE FOLDER BUDGET SECONDS THREADS SEED
//
// Exit code 1 and a sentence at the first wrong thing; else one line of figures.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <v4infer/kv_store.hpp>
#include <vector>

#include "tests/soak/actor.h"

namespace {

using namespace v4i::soak;
using Clock = std::chrono::steady_clock;
using u64 = std::uint64_t;

// Of this process, without files: what the kernel cannot drop.
u64 anonymous_bytes() {
  u64 kib = 0;
  char line[256];
  std::FILE* f = std::fopen("/proc/self/status", "r");
  while (f != nullptr && std::fgets(line, sizeof line, f) != nullptr)
    if (std::strncmp(line, "RssAnon:", 8) == 0) kib = std::strtoull(line + 8, nullptr, 10);
  if (f != nullptr) std::fclose(f);
  return kib * 1024;
}

struct Run {
  std::string model, truth, folder;
  u64 budget = 0;
  int seconds = 0, threads = 1;
  u64 seed = 1;
};

v4i_memory_budget budget_of(u64 host) {
  auto b = v4infer::init<v4i_memory_budget>();
  b.host_bytes = host;
  b.disk_bytes = ~u64{0};
  return b;
}

struct Watch {
  u64 peak_anonymous = 0, least_cap = ~u64{0};
  int changes = 0;
};

// Moves the cap, looks whether it holds and whether anybody gets on.
Watch watch(const Run& run, v4infer::Engine& engine, const Counts& counts, u64 base,
            std::atomic<bool>& stop) {
  std::mt19937_64 random(run.seed);
  const v4i_memory_stats opened = must(engine.memory(), "memory");
  const u64 idle = opened.host_weights + opened.host_kv + opened.host_scratch;
  Watch w;
  u64 calls = 0;
  const auto end = Clock::now() + std::chrono::seconds(run.seconds);
  auto moved = Clock::now();
  for (int i = 0; Clock::now() < end; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const u64 anonymous = anonymous_bytes();
    w.peak_anonymous = std::max(w.peak_anonymous, anonymous > base ? anonymous - base : 0);
    if (i % 25 == 0) {
      // One of eight times less than what an engine without sessions uses.
      const u64 least = random() % 8 == 0 ? 1 : std::min(idle, run.budget - 1);
      const u64 cap = random() % 3 == 0 ? run.budget : least + random() % (run.budget - least);
      must(engine.set_budget(budget_of(cap)), "set_budget");
      w.least_cap = std::min(w.least_cap, cap);
      ++w.changes;
    }
    const v4i_memory_stats m = must(engine.memory(), "memory");
    if (m.host_peak > run.budget)
      give_up("the budget is " + std::to_string(run.budget) + ", its peak " +
              std::to_string(m.host_peak));
    if (counts.calls != calls) moved = Clock::now();
    calls = counts.calls;
    if (Clock::now() - moved > std::chrono::seconds(60))
      give_up("no call has returned for 60 seconds");
  }
  must(engine.set_budget(budget_of(run.budget)), "set_budget");
  stop = true;
  return w;
}

void soak(const Run& run) {
  const Truth truth(run.truth);
  const u64 base = anonymous_bytes();
  const v4i_memory_budget budget = budget_of(run.budget);
  v4i_engine_options o = v4infer::Engine::options();
  o.budget = &budget;
  v4infer::Engine engine = must(v4infer::Engine::create(o), "an engine");
  v4infer::Model model = must(v4infer::Model::open(engine, run.model.c_str()), "the model");
  const std::string folder = run.folder + "/tier";
  v4infer::KvStore store =
      must(v4infer::KvStore::open_disk(engine, folder.c_str()), "the disk tier");
  const std::uint32_t vocab = must(model.info(), "model info").vocab_size;
  Counts counts;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < run.threads; ++t)
    threads.emplace_back([&, t] {
      Actor actor(model, truth, store.get(), run.folder, vocab,
                  run.seed * 100 + static_cast<u64>(t), counts);
      while (!stop) actor.act();
    });
  const Watch w = watch(run, engine, counts, base, stop);
  for (std::thread& t : threads) t.join();
  const v4i_kv_stats s = must(store.stats(), "store stats");
  const v4i_memory_stats m = must(engine.memory(), "memory");
  const auto mib = [](u64 bytes) { return static_cast<double>(bytes) / (1 << 20); };
  std::printf(
      "budget %.0f MiB: %llu calls, %llu refused, %llu texts and logits compared, %llu tokens of "
      "which "
      "%llu reused; cap moved %d times, down to %.0f MiB; peak %.1f MiB, RssAnon %.1f MiB more "
      "than "
      "before; disk %.0f MiB, %llu read, %llu missed, %llu errors\n",
      mib(run.budget), static_cast<unsigned long long>(counts.calls),
      static_cast<unsigned long long>(counts.refused),
      static_cast<unsigned long long>(counts.checked),
      static_cast<unsigned long long>(counts.tokens),
      static_cast<unsigned long long>(counts.reused), w.changes, mib(w.least_cap), mib(m.host_peak),
      mib(w.peak_anonymous), mib(s.bytes), static_cast<unsigned long long>(s.hits),
      static_cast<unsigned long long>(s.misses), static_cast<unsigned long long>(s.errors));
  if (s.errors > 0) give_up("the disk tier counts errors");
  if (counts.checked == 0) give_up("nothing was compared: the budget is too small for this model");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "truth" && argc == 6) {
    Truth::make(argv[2], argv[3], std::atoi(argv[4]), std::atoi(argv[5]));
  } else if (mode == "run" && argc == 9) {
    soak({argv[2], argv[3], argv[4], std::strtoull(argv[5], nullptr, 10), std::atoi(argv[6]),
          std::atoi(argv[7]), std::strtoull(argv[8], nullptr, 10)});
  } else {
    std::fputs(
        "usage: soak truth MODEL FILE STORIES TOKENS\n"
        "       soak run MODEL FILE FOLDER BUDGET SECONDS THREADS SEED\n",
        stderr);
    return 2;
  }
  return 0;
}
