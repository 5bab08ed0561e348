// v4infer bench --tiers: decode behind a long prompt with memory for less and less of its KV state.
//
// The prompt is computed once, with everything in memory, and put on the disk.  Then one engine
// after the other, each with a smaller cap, takes it up from there and decodes the same tokens;
// their logits must have the same bits.  What a cap is made of is what v4i_model_plan_open says:
// what must be in memory, and a share of what may leave it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "bench.h"
#include "chart.h"
#include "interrupt.h"
#include "sha256.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kShares[] = {100, 50, 25, 10};  // per cent of what may leave memory
constexpr int kDefaultContext = 4096;
constexpr int kWarm = 8;  // tokens before the measured ones

struct Row {
  int share = 0;
  std::uint64_t cap = 0, kv = 0, ram = 0, disk = 0;  // bytes; cap 0 = none
  double ready = 0;                                  // seconds until the prompt is computed ...
  std::uint64_t reused = 0;                          // ... of which so many tokens were there
  std::vector<double> ms;                            // of each token
  std::uint64_t read = 0;                            // bytes for all of them, KV and experts
  Hits hits;
  std::string sha256;
};

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size()));
  return values[std::min(at, values.size() - 1)];
}

// The folder of --disk, or one that is removed in the end.
class Folder {
 public:
  explicit Folder(const std::string& given) : path_(given), own_(given.empty()) {
    if (!own_) return;
    std::string made = (std::filesystem::temp_directory_path() / "v4infer-tiers-XXXXXX").string();
    if (::mkdtemp(made.data()) == nullptr) throw Failure(made + ": cannot be made");
    path_ = made;
  }
  ~Folder() {
    std::error_code ignored;
    if (own_) std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool own_;
};

v4i_model_plan plan_of(const ModelArgs& args, bool tiered) {
  const v4i_numerics numerics = numerics_of(args.mode);
  auto options = v4infer::init<v4i_model_options>();
  options.next = reinterpret_cast<const v4i_ext*>(&numerics);
  options.context_hint = args.context;
  options.tiered = tiered ? 1 : 0;
  const v4infer::Engine engine = take(v4infer::Engine::create(engine_options(args)));
  return take(v4infer::Model::plan(engine, args.path.c_str(), options));
}

class TiersBench {
 public:
  explicit TiersBench(const BenchArgs& args)
      : args_(args), folder_(args.model.disk), model_(args.model) {
    tokens_ = args.context > 0 ? args.context : kDefaultContext;
    model_.disk = folder_.path();
    model_.context = static_cast<std::uint32_t>(tokens_ + kWarm + args.decode);
    least_ = plan_of(model_, true).host_bytes_tiered;
    all_ = std::max(plan_of(model_, false).host_bytes, least_);
    run_ = v4infer::init<v4i_run_options>();
    run_.cancel = running_.token();
  }

  int tokens() const { return tokens_; }

  Row measure(int share) {
    Row row;
    row.share = share;
    row.cap = share == 100 ? 0 : least_ + (all_ - least_) / 100 * static_cast<std::uint64_t>(share);
    ModelArgs model = model_;
    model.ram = row.cap;
    const Opened opened = open_model(model);
    const std::uint32_t vocab = text_tokens(opened.model);
    auto session = take(v4infer::Session::create(opened.model, opened.session_options()));
    auto start = Clock::now();
    check(session.append(some_tokens(static_cast<std::size_t>(tokens_), vocab)));
    check(session.prefill(run_));
    row.ready = seconds_since(start);
    row.reused = take(session.info()).reused_tokens;
    decode(opened, session, vocab, &row);
    const v4i_memory_stats m = take(opened.engine.memory());
    row.kv = m.host_kv;
    row.ram = m.host_kv + m.host_weights + m.host_scratch;
    row.disk = m.disk_kv;
    return row;
  }

 private:
  void decode(const Opened& opened, v4infer::Session& session, std::uint32_t vocab, Row* row) {
    v4i_session_metrics before{};
    std::uint64_t read_before = 0;
    Sha256 hash;
    const auto n = static_cast<std::size_t>(kWarm + args_.decode);
    int done = 0;
    for (const v4i_token t : some_tokens(n, vocab, 2)) {
      if (done++ == kWarm) {
        before = take(session.metrics());
        read_before = take(opened.disk.stats()).read_bytes;
      }
      const auto start = Clock::now();
      check(session.append({t}));
      check(session.prefill(run_));
      if (done > kWarm) row->ms.push_back(1e3 * seconds_since(start));
      const v4infer::Session::Logits l = take(session.logits());
      hash.update(l.data, l.count * sizeof *l.data);
    }
    const v4i_session_metrics now = take(session.metrics());
    row->hits = hits_between(before, now);
    row->read = take(opened.disk.stats()).read_bytes - read_before + now.expert_load_bytes -
                before.expert_load_bytes;
    row->sha256 = hash.finish();
  }

  const BenchArgs& args_;
  Folder folder_;
  ModelArgs model_;
  Running running_;
  v4i_run_options run_;
  int tokens_ = 0;
  std::uint64_t all_ = 0, least_ = 0;
};

Json json_of(const Row& r, const Row& first) {
  const auto known = [](std::optional<double> hits) { return hits ? Json(*hits) : Json(); };
  return {{"share", r.share},
          {"ram_cap_bytes", r.cap},
          {"kv_ram_bytes", r.kv},
          {"ram_bytes", r.ram},
          {"disk_bytes", r.disk},
          {"ready_s", r.ready},
          {"reused_tokens", r.reused},
          {"decode_ms", median(r.ms)},
          {"decode_ms_p99", percentile(r.ms, 0.99)},
          {"kv_hit", known(r.hits.kv)},
          {"expert_hit", known(r.hits.expert)},
          {"read_bytes_per_token", r.read / r.ms.size()},
          {"same_bits", r.sha256 == first.sha256}};
}

// A line of a table: its names, or its values.
void print_csv(const Json& row, bool names) {
  std::string line;
  for (const auto& [name, value] : row.items())
    line += (line.empty() ? "" : ",") + (names ? name : value.is_null() ? "" : value.dump());
  print_text(line + "\n");
}

void draw(const std::string& path, const std::string& title, const Json& rows) {
  std::vector<std::string> labels;
  Panel memory{"KV state in memory, MB", {}}, decode{"decode, ms a token (median)", {}};
  for (const Json& r : rows) {
    labels.push_back(std::to_string(r["share"].get<int>()) + " % of rows");
    memory.values.push_back(r["kv_ram_bytes"].get<double>() / 1e6);
    decode.values.push_back(r["decode_ms"].get<double>());
  }
  write_chart(path, title, labels, {memory, decode});
}

}  // namespace

void bench_tiers(const BenchArgs& args) {
  TiersBench bench(args);
  Json rows = Json::array();
  Row first;
  bool same = true;
  for (const int share : kShares) {
    const Row row = bench.measure(share);
    if (rows.empty()) first = row;
    rows.push_back(json_of(row, first));
    same = same && rows.back()["same_bits"].get<bool>();
    if (args.json) continue;
    if (rows.size() == 1) print_csv(rows[0], true);
    print_csv(rows.back(), false);
  }
  if (args.json)
    print_json(
        Json{{"model", args.model.path}, {"context_tokens", bench.tokens()}, {"rows", rows}});
  if (!args.svg.empty())
    draw(args.svg, args.model.path + ", " + std::to_string(bench.tokens()) + " tokens", rows);
  if (!same) throw Failure("the logits are not the same in all rows");
}

}  // namespace cli
