// Rows of Engram tables, as CSV: what a cache of them hits, and what they cost a run of tokens.
//
//   hits   no files: the released model's hash over a text, through the cache at several sizes.
//   Beside
//          CLOCK, which it is, least recently used and an endless cache: what any rule can reach.
//   rows   the tables of a folder (engram/make_table.py): rows per second by runs of 1, 8 and 512
//          tokens, with `--busy` microseconds of other work before the first layer's rows and ten
//          times that before the second's.  asynchronous: reads begin with the run; synchronous:
//          when the rows are wanted; resident: from the mapping.  waited: the time that the run
//          stood still.
//
// The limit of `rows` is the disk: 96 reads of a page for a token of the released model.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <list>
#include <nlohmann/json.hpp>
#include <random>
#include <unordered_map>
#include <unordered_set>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/engram/tables.h"
#include "lib/tokenizer/token_classes.h"

namespace {

using namespace v4i;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

struct Args {
  std::string folder, text, tokenizer;
  std::vector<std::int64_t> runs = {1, 8, 512};
  std::vector<double> cache_mb = {0, 16, 64, 256, 1024};
  std::int64_t tokens = 1024;
  double busy = 2000;
  bool buffered = false;
};
Args g_args;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

model::EngramConfig released() {
  model::EngramConfig c;
  c.layers = {1, 14};
  c.rows = {384006168, 384016682};
  c.max_ngram = 4;
  c.heads = 8;
  c.head_dim = 256;
  c.bucket_rows = 16000000;
  c.classes = 99092;
  c.pad_token = 2;
  return c;
}

// The text's classes: of its ids by the tokenizer, or made up with a skew like a text's.
std::vector<std::int32_t> text_classes(std::int32_t classes) {
  std::vector<std::int32_t> out;
  if (g_args.text.empty()) {
    std::mt19937 random(1);
    for (int i = 0; i < 200000; ++i)
      out.push_back(static_cast<std::int32_t>(
          std::pow(classes, std::generate_canonical<double, 32>(random)) - 1));
    return out;
  }
  const auto t = tokenizer::Tokenizer::open(g_args.tokenizer);
  const std::vector<std::int32_t> map = tokenizer::token_classes(*t);
  t->encode(read_text_file(g_args.text, std::size_t{1} << 31), false, out);
  for (std::int32_t& id : out) id = map[static_cast<std::size_t>(id)] % classes;
  return out;
}

// ---- hits

class LeastRecent {
 public:
  explicit LeastRecent(std::size_t most) : most_(most) {}
  bool ask(std::uint64_t key) {
    const auto it = at_.find(key);
    const bool hit = it != at_.end();
    if (hit) order_.erase(it->second);
    if (!hit && at_.size() == most_) {
      at_.erase(order_.back());
      order_.pop_back();
    }
    order_.push_front(key);
    at_[key] = order_.begin();
    return hit;
  }

 private:
  std::size_t most_;
  std::list<std::uint64_t> order_;
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> at_;
};

void hits(std::vector<std::int32_t> classes) {
  classes.resize(std::min(classes.size(), static_cast<std::size_t>(g_args.tokens)));
  const model::EngramConfig c = released();
  const engram::Hash hash(c, c.pad_token, "released");
  std::vector<std::int32_t> windows(classes.size() * 4), rows(24);
  engram::fill_windows(classes, 0, 4, windows.data());
  const auto each_key = [&](auto&& body) {
    for (std::size_t t = 0; t < classes.size(); ++t)
      for (std::size_t layer = 0; layer < 2; ++layer) {
        hash.rows(layer, windows.data() + t * 4, rows.data());
        for (const std::int32_t r : rows) body(engram::key_of(layer, r));
      }
  };
  const double asked = 48 * static_cast<double>(classes.size());
  std::unordered_set<std::uint64_t> endless;
  each_key([&](std::uint64_t key) { endless.insert(key); });
  std::printf("bench,cache_mb,rows,tokens,clock,least_recent,endless\n");
  for (const double mb : g_args.cache_mb) {
    Budget budget;
    const engram::RowForm form(c.head_dim);
    engram::RowSlots slots(budget, form, static_cast<std::uint64_t>(mb * 1e6), 1 << 20);
    const std::vector<std::byte> row(form.bytes());
    std::size_t clock_hits = 0, recent_hits = 0;
    each_key([&](std::uint64_t key) {
      const bool hit = slots.ask(key).row != nullptr;
      if (!hit) slots.keep(key, row.data());
      clock_hits += hit;
    });
    LeastRecent recent(std::max<std::size_t>(slots.slots(), 1));
    each_key([&](std::uint64_t key) { recent_hits += recent.ask(key); });
    std::printf("hits,%g,%llu,%zu,%.4f,%.4f,%.4f\n", mb,
                static_cast<unsigned long long>(slots.slots()), classes.size(),
                static_cast<double>(clock_hits) / asked, static_cast<double>(recent_hits) / asked,
                1 - static_cast<double>(endless.size()) / asked);
    std::fflush(stdout);
  }
}

// ---- rows

struct Folder {
  Folder() {
    const json all = json::parse(read_text_file(join_path(g_args.folder, "config.json"), 1u << 20));
    const json& j = all.contains("text_config") ? all["text_config"] : all;
    model::EngramConfig& c = config.engram;
    c.layers = j["engram_layer_ids"].get<std::vector<int>>();
    c.rows = j["engram_num_embeddings"].get<std::vector<std::int64_t>>();
    c.max_ngram = j["engram_max_ngram_size"];
    c.heads = j["engram_n_heads"];
    c.head_dim = j["engram_head_dim"];
    c.bucket_rows = j["engram_vocab_size"];
    c.classes = j["engram_compressed_vocab_size"];
    c.pad_token = j["engram_pad_token_id"];
    config.vocab = j.value("vocab_size", 129280);
    checkpoint = loader::Checkpoint::open(g_args.folder);
    for (const int layer : c.layers) tables.push_back(bind(layer));
  }
  Weight bind(int layer) const {
    const std::string base = fmt::format("layers.{}.engram.embed.", layer);
    const auto view = [&](const std::string& name) {
      const std::int32_t i = checkpoint->find(name);
      if (i < 0) fail(Code::kFormat, "{}: has no tensor {}", g_args.folder, name);
      return checkpoint->view(checkpoint->tensors()[static_cast<std::size_t>(i)]);
    };
    const TensorView codes = view(base + "weight");
    Weight w;
    w.format = WeightFormat::kFp8;
    w.rows = codes.shape[0];
    w.cols = codes.shape[1];
    w.data = codes.data;
    w.scale = view(base + "scale").as<std::uint8_t>();
    w.block_rows = 1;
    w.block_cols = 32;
    w.tensor = checkpoint->find(base + "weight");
    return w;
  }
  engram::TableSource source() const {
    engram::TableSource s;
    s.checkpoint = checkpoint.get();
    s.config = &config;
    s.name = g_args.folder;
    for (const Weight& w : tables) s.tables.push_back(&w);
    return s;
  }
  // Out of the page cache; the mapping is touched by `resident` alone.
  void forget() const {
    for (std::size_t i = 0; i < checkpoint->shard_count(); ++i) {
      const int fd =
          ::open(checkpoint->shard_path(static_cast<std::uint32_t>(i)).c_str(), O_RDONLY);
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      ::close(fd);
    }
  }
  model::Config config;
  std::unique_ptr<loader::Checkpoint> checkpoint;
  std::vector<Weight> tables;
};

void work(double us) {
  const auto until = Clock::now() + std::chrono::nanoseconds(static_cast<std::int64_t>(us * 1000));
  while (Clock::now() < until) {
  }
}

struct Way {
  const char* name;
  bool synchronous, resident, expected;
};

void rows(const Folder& folder, const std::vector<std::int32_t>& classes, const Way& way,
          std::int64_t run, double mb) {
  const model::EngramConfig& c = folder.config.engram;
  Budget budget;
  engram::Options o;
  o.cache_bytes = static_cast<std::uint64_t>(mb * 1e6);
  o.direct = !g_args.buffered;
  o.synchronous = way.synchronous;
  o.resident = way.resident;
  const auto reads = std::make_shared<store::ReadQueue>();
  engram::Tables tables(folder.source(), engram::ClassMap::from_file(g_args.folder, folder.config),
                        reads, budget, o);
  folder.forget();
  const auto wide = static_cast<std::size_t>(c.max_ngram);
  const std::int64_t tokens = std::min<std::int64_t>(std::max(g_args.tokens, run),
                                                     static_cast<std::int64_t>(classes.size()));
  std::vector<std::int32_t> windows(classes.size() * wide);
  engram::fill_windows(classes, 0, c.max_ngram, windows.data());
  const auto of = [&](std::int64_t first) {
    return std::span(windows).subspan(static_cast<std::size_t>(first) * wide,
                                      static_cast<std::size_t>(run) * wide);
  };
  std::vector<float> out(static_cast<std::size_t>(run * tables.width()));
  double busy = 0, begun = 0, waited = 0, taken = 0;
  const auto start = Clock::now();
  std::int64_t done = 0;
  for (; done + run <= tokens; done += run) {
    auto t = Clock::now();
    tables.begin(of(done));
    if (way.expected && done + 2 * run <= tokens) tables.expect(of(done + run));
    begun += seconds_since(t);
    for (std::size_t layer = 0; layer < c.layers.size(); ++layer) {
      t = Clock::now();
      work(g_args.busy * static_cast<double>(run) * (layer == 0 ? 1 : 10));
      busy += seconds_since(t), t = Clock::now();
      tables.wait(layer, nullptr);
      waited += seconds_since(t), t = Clock::now();
      tables.rows(layer, 0, run, out.data());
      taken += seconds_since(t);
    }
  }
  const double all = seconds_since(start), n = static_cast<double>(done);
  const engram::Stats s = tables.stats();
  std::printf("rows,%s,%lld,%g,%lld,%.0f,%.4f,%llu,%.1f,%.1f,%.1f,%.1f,%.2f\n", way.name,
              static_cast<long long>(run), mb, static_cast<long long>(done),
              static_cast<double>(s.lookups) / (all - busy),
              static_cast<double>(s.hits) / static_cast<double>(s.lookups),
              static_cast<unsigned long long>(s.reads), begun / n * 1e6, waited / n * 1e6,
              taken / n * 1e6, busy / n * 1e6, 100 * (all - busy) / busy);
  std::fflush(stdout);
}

void all_rows(const Folder& folder, const std::vector<std::int32_t>& classes) {
  std::printf(
      "bench,way,run,cache_mb,tokens,rows_per_s,hits,reads,begin_us,wait_us,rows_us,busy_us,cost_"
      "percent\n");
  for (const std::int64_t run : g_args.runs)
    for (const double mb : g_args.cache_mb)
      for (const Way& way :
           {Way{"synchronous", true, false, false}, Way{"asynchronous", false, false, false},
            Way{"expected", false, false, true}, Way{"resident", false, true, false}})
        if (!way.resident || mb == g_args.cache_mb.front()) rows(folder, classes, way, run, mb);
}

void run() {
  if (!g_args.folder.empty()) {
    const Folder folder;
    all_rows(folder, text_classes(static_cast<std::int32_t>(folder.config.engram.classes)));
  } else {
    hits(text_classes(99092));
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("what a cache of Engram rows hits (without a folder), and what rows cost, as CSV");
  app.add_option("folder", g_args.folder, "of engram/make_table.py");
  app.add_option("--text", g_args.text, "any text; made-up words without it");
  app.add_option("--tokenizer", g_args.tokenizer, "tokenizer.json, for --text");
  app.add_option("--runs", g_args.runs, "tokens of a run")->delimiter(',');
  app.add_option("--cache-mb", g_args.cache_mb, "of the cache")->delimiter(',');
  app.add_option("--tokens", g_args.tokens, "measured, at most");
  app.add_option("--busy", g_args.busy,
                 "microseconds of other work a token before the first layer");
  app.add_flag("--buffered", g_args.buffered, "through the page cache");
  CLI11_PARSE(app, argc, argv);
  try {
    run();
  } catch (const v4i::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
