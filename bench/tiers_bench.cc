// Decode behind a long made-up history, with all of the KV in memory and with memory for a part of
// it and a disk tier below, in turns on the same tokens.
//
// CSV, a line per context and mode: context; mode; kv_bytes, of which memory holds resident_bytes
// (blocks, single rows, their bookkeeping, transfers; without the fixed state); disk_bytes; tokens;
// median_ms and p99_ms a token; rows_hit, the share of the rows asked for that were there;
// read_bytes, from disk a token; same: logits equal bit for bit.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "bench/support/whole.h"
#include "lib/store/disk_store.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;

std::vector<std::int64_t> g_contexts = {131072, 1048576};
int g_tokens = 200;
double g_share = 0.03;  // of the rows that are read one by one, in memory
std::string g_folder = "/tmp/v4infer-tiers-bench";
bool g_repeat_token = false;

struct Side {
  std::shared_ptr<session::Context> context;
  std::unique_ptr<kv::State> state;
  std::vector<float> logits;
  std::vector<double> ms;
  std::uint64_t base = 0;  // of the budget, before there was any history
  store::CacheStats before;

  void step(std::int32_t id) {
    const forward::Item item{state.get(), {&id, 1}, logits.data()};
    const auto start = Clock::now();
    context->forward().run({&item, 1}, nullptr, nullptr);
    ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
};

Side open_side(const bench::Options& o, bool tiered) {
  Side side;
  side.context = bench::open(o, 256, [&](session::Engine& engine, session::OpenOptions& options) {
    if (tiered)
      options.kv_store = store::open_disk_store({g_folder}, engine.budget(), engine.reads());
  });
  side.logits.resize(static_cast<std::size_t>(side.context->vocab()));
  return side;
}

// Memory for what is read whole every token, for a share of the rest, and for what is under way.
std::uint64_t cap_for(const Side& side, std::int64_t tokens) {
  const kv::Layout& layout = *side.context->layout();
  double whole = 0, by_row = 0;
  for (const kv::LayerLayout& l : layout.layers) {
    if (l.ratio == 0) continue;
    const auto rows = static_cast<double>(tokens) / l.ratio;
    whole += rows * static_cast<double>(layout.row_bytes(l, true));
    (layout.by_row(l) ? by_row : whole) += rows * static_cast<double>(layout.row_bytes(l, false));
  }
  const double names = static_cast<double>(tokens) * 5;  // ids, digests, lists of rows
  return side.base + 3 * layout.fixed_bytes + (8 << 20) +
         static_cast<std::uint64_t>(whole * 1.01 + by_row * g_share + names);
}

void fill(Side& side, std::int64_t tokens, bool tiered) {
  Budget& budget = side.context->engine().budget();
  side.base = budget.used();
  if (tiered) budget.set_cap(cap_for(side, tokens));
  side.state = std::make_unique<kv::State>(side.context->layout(), side.context->cache(),
                                           side.context->identity());
  bench::make_history(*side.state, tokens, side.context->vocab(), 3);
}

void report(const Side& side, const char* mode, std::int64_t tokens, bool same) {
  const kv::Layout& layout = *side.context->layout();
  const auto n = static_cast<std::uint64_t>(tokens);
  const store::CacheStats now = side.context->cache().stats();
  const double hits = static_cast<double>(now.row_hits - side.before.row_hits);
  const double misses = static_cast<double>(now.row_misses - side.before.row_misses);
  std::vector<double> ms = side.ms;
  std::sort(ms.begin(), ms.end());
  std::uint64_t disk = 0;
  if (std::filesystem::exists(g_folder) && std::strcmp(mode, "tiered") == 0)
    for (const auto& f : std::filesystem::directory_iterator(g_folder))
      if (f.is_regular_file()) disk += f.file_size();
  const std::string line = fmt::format(
      "{},{},{},{},{},{},{:.3f},{:.3f},{:.4f},{:.0f},{}\n", tokens, mode,
      layout.bytes(n) - layout.fixed_bytes,
      side.context->engine().budget().used() - side.base - layout.fixed_bytes, disk, ms.size(),
      ms[ms.size() / 2], ms[ms.size() * 99 / 100], hits + misses > 0 ? hits / (hits + misses) : 1.0,
      static_cast<double>(now.read_bytes - side.before.read_bytes) / static_cast<double>(ms.size()),
      same ? "yes" : "no");
  std::fputs(line.c_str(), stdout);
}

void at_context(const bench::Options& o, std::int64_t tokens) {
  std::filesystem::remove_all(g_folder);
  Side plain = open_side(o, false), tiered = open_side(o, true);
  tokens = std::min(tokens, plain.context->context_max() - g_tokens - 64);
  fill(plain, tokens, false);
  fill(tiered, tokens, true);
  std::vector<std::int32_t> ids = bench::some_tokens(g_tokens + 16, plain.context->vocab(), 2);
  if (g_repeat_token) std::fill(ids.begin(), ids.end(), ids[0]);
  bool same = true;
  constexpr std::size_t kTurn = 4;
  for (std::size_t i = 0; i < ids.size(); i += kTurn) {
    if (i == 16)
      for (Side* s : {&plain, &tiered}) {  // warm
        s->ms.clear();
        s->before = s->context->cache().stats();
      }
    const std::size_t end = std::min(ids.size(), i + kTurn);
    for (std::size_t k = i; k < end; ++k) plain.step(ids[k]);
    for (std::size_t k = i; k < end; ++k) tiered.step(ids[k]);
    same = same && std::memcmp(plain.logits.data(), tiered.logits.data(),
                               plain.logits.size() * sizeof(float)) == 0;
  }
  report(plain, "memory", tokens, same);
  report(tiered, "tiered", tokens, same);
}

void tiers(bench::Program& program) {
  if (program.options().header)
    std::puts(
        "context,mode,kv_bytes,resident_bytes,disk_bytes,tokens,median_ms,p99_ms,rows_hit,read_"
        "bytes,"
        "same");
  for (const std::int64_t tokens : g_contexts) at_context(program.options(), tokens);
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("tiers_bench", "decode with the KV in memory and on disk, as CSV");
  program.app().add_option("--contexts", g_contexts, "tokens of history")->delimiter(',');
  program.app().add_option("--tokens", g_tokens, "decoded");
  program.app().add_option("--share", g_share, "of the rows read one by one, in memory");
  program.app().add_option("--disk", g_folder, "folder of the disk tier; emptied first");
  program.app().add_flag("--repeat-token", g_repeat_token, "one token id again and again");
  return program.run(argc, argv, tiers);
}
