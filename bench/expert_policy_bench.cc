// Which experts to keep: hit rates of the heat that lib/experts uses beside other rules, as CSV.
//
// The accesses of a trained router are recorded once, token by token, and played to each rule with
// memory for some of the experts.  "best" knows the future (Belady): no rule is better.  The rows
// "cache" are the real thing, with and without guesses and saved heat, where what counts is a hit,
// read by a hint or not; the rows "start" are its first eight tokens.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>

#include "bench/support/whole.h"
#include "lib/base/file.h"
#include "lib/experts/experts.h"
#include "lib/experts/heat.h"
#include "lib/tokenizer/tokenizer.h"

namespace {

using namespace v4i;

std::string g_text;
int g_tokens = 2000;

struct Access {
  int layer;
  std::vector<std::int32_t> ids;
};
using Trace = std::vector<Access>;

// Mapped experts that write down what is acquired.
class Recorder final : public experts::Experts {
 public:
  explicit Recorder(std::shared_ptr<const model::Model> model) : model_(std::move(model)) {}
  Trace trace;

 protected:
  void begin(int layer, std::span<const std::int32_t> ids, const experts::Uses&) override {
    trace.push_back({layer, {ids.begin(), ids.end()}});
  }
  std::size_t wait(int, std::span<const std::int32_t> ids, std::size_t) override {
    return ids.size();
  }
  const model::Expert& view(int layer, std::int32_t id) const override {
    return model_->block(layer).ffn.experts[static_cast<std::size_t>(id)];
  }

 private:
  std::shared_ptr<const model::Model> model_;
};

struct Played {
  const Trace& trace;
  std::size_t at = 0;  // the access in work
  experts::Heat heat, ever, now;
  std::map<std::pair<int, std::int32_t>, std::size_t> last;  // access
};
using Rule = std::function<float(const Played&, int layer, std::int32_t id)>;  // most: goes

// Share of hits with room for `slots` experts.
double play(const Trace& trace, int layers, std::int32_t experts, std::size_t slots,
            const Rule& rule) {
  Played p{trace, 0, {layers, experts, 0.5f}, {layers, experts, 0}, {layers, experts, 1}, {}};
  std::vector<std::pair<int, std::int32_t>> held;
  double hits = 0, all = 0;
  for (const Access& a : trace) {
    for (experts::Heat* h : {&p.heat, &p.ever, &p.now}) h->used(a.layer, a.ids, {});
    for (const std::int32_t id : a.ids) {
      const std::pair key(a.layer, id);
      ++all;
      p.last[key] = p.at;
      if (std::find(held.begin(), held.end(), key) != held.end()) {
        ++hits;
        continue;
      }
      if (held.size() < slots) {
        held.push_back(key);
        continue;
      }
      std::size_t out = held.size();
      float most = -1;
      for (std::size_t i = 0; i < held.size(); ++i) {
        const bool used = held[i].first == a.layer &&
                          std::find(a.ids.begin(), a.ids.end(), held[i].second) != a.ids.end();
        const float t = used ? -0.5f : rule(p, held[i].first, held[i].second);
        if (t > most) most = t, out = i;
      }
      held[out] = key;
    }
    ++p.at;
  }
  return hits / all;
}

float next_in_trace(const Played& p, int layer, std::int32_t id) {
  for (std::size_t i = p.at + 1; i < p.trace.size(); ++i)
    if (p.trace[i].layer == layer &&
        std::find(p.trace[i].ids.begin(), p.trace[i].ids.end(), id) != p.trace[i].ids.end())
      return static_cast<float>(i - p.at);
  return std::numeric_limits<float>::max();
}

const std::pair<const char*, Rule> kRules[] = {
    {"least recently used",
     [](const Played& p, int l, std::int32_t e) {
       return static_cast<float>(p.at - p.last.at({l, e}));
     }},
    {"heat", [](const Played& p, int l,
                std::int32_t e) { return p.heat.next_use(l, e, p.trace[p.at].layer); }},
    {"heat of now", [](const Played& p, int l,
                       std::int32_t e) { return p.now.next_use(l, e, p.trace[p.at].layer); }},
    {"heat of ever", [](const Played& p, int l,
                        std::int32_t e) { return p.ever.next_use(l, e, p.trace[p.at].layer); }},
    {"best", next_in_trace},
};

// Decodes `ids` one by one.
void decode(session::Context& context, forward::Forward& forward,
            std::span<const std::int32_t> ids) {
  kv::State state(context.layout(), context.cache(), context.identity());
  std::vector<float> logits(static_cast<std::size_t>(context.vocab()));
  for (const std::int32_t& id : ids) {
    const forward::Item item{&state, {&id, 1}, logits.data()};
    forward.run({&item, 1}, nullptr);
  }
}

void play_cache(const char* name, session::Context& context, std::span<const std::int32_t> ids,
                std::size_t slots, bool guesses, const std::string& heat, std::string* kept) {
  Budget budget;
  experts::CacheOptions options;
  options.slots = slots;
  options.guesses = guesses;
  const auto model = model::Model::open(context.model().path());
  const auto cached = experts::cached_experts(model, budget, context.engine().reads(), options);
  if (!heat.empty()) cached->restore_heat(heat);
  forward::Options forward_options;
  forward_options.max_tokens = 16;
  forward::Forward forward(model, context.engine().backend(), forward_options,
                           forward::Lookups{cached, nullptr});
  decode(context, forward, ids);
  const experts::Stats s = cached->stats();
  const auto all = static_cast<double>(s.hits + s.late + s.misses);
  std::printf("%s,%zu,guesses %s heat %s,%.4f,%.4f,%.1f\n", name, slots, guesses ? "on" : "off",
              heat.empty() ? "off" : "on", static_cast<double>(s.hits) / all,
              static_cast<double>(s.hits + s.late) / all,
              static_cast<double>(s.bytes_read) / static_cast<double>(ids.size()));
  std::fflush(stdout);
  if (kept != nullptr) *kept = cached->heat();
}

void run(bench::Program& program) {
  const auto context = bench::open(program.options(), 16);
  const auto model = model::Model::open(program.options().model);
  std::vector<std::int32_t> ids;
  if (g_text.empty())
    ids = bench::some_tokens(g_tokens, context->vocab(), 3);
  else
    context->tokenizer().encode(read_text_file(g_text, std::size_t{16} << 20), false, ids);
  ids.resize(std::min<std::size_t>(ids.size(), static_cast<std::size_t>(g_tokens)));
  const auto recorder = std::make_shared<Recorder>(model);
  forward::Options options;
  options.max_tokens = 16;
  forward::Forward forward(model, context->engine().backend(), options,
                           forward::Lookups{recorder, nullptr});
  decode(*context, forward, ids);
  const auto layers = static_cast<int>(model->weights().layers.size());
  const auto experts = static_cast<std::int32_t>(model->config().experts);
  const int all = layers * experts;
  if (program.options().header) std::puts("bench,slots,rule,hits,hits_or_late,bytes_per_token");
  for (int slots = all / 8; slots < all; slots += std::max(all / 8, 1))
    for (const auto& [name, rule] : kRules)
      std::printf("policy,%d,%s,%.4f,,\n", slots, name,
                  play(recorder->trace, layers, experts, static_cast<std::size_t>(slots), rule));
  const std::span<const std::int32_t> first(ids.data(), ids.size() / 2),
      second(ids.data() + first.size(), ids.size() - first.size());
  for (int slots = all / 4; slots < all; slots += std::max(all / 4, 1)) {
    const auto n = static_cast<std::size_t>(slots);
    std::string heat;
    play_cache("cache", *context, first, n, false, "", &heat);
    for (const bool guesses : {false, true})
      for (const bool known : {false, true}) {
        play_cache("cache", *context, second, n, guesses, known ? heat : "", nullptr);
        play_cache("start", *context, second.first(std::min<std::size_t>(second.size(), 8)), n,
                   guesses, known ? heat : "", nullptr);
      }
  }
}

}  // namespace

int main(int argc, char** argv) {
  v4i::bench::Program program("expert_policy_bench",
                              "hit rates of rules for keeping experts, as CSV");
  program.app().add_option("--text", g_text, "a text file; default random tokens");
  program.app().add_option("--tokens", g_tokens, "of it, at most");
  return program.run(argc, argv, run);
}
