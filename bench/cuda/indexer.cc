// The indexer: scores of index keys, the best rows, and what the choice of rows gains.
#include <algorithm>
#include <cmath>

#include "bench/cuda/attention.h"
#include "bench/cuda/families.h"
#include "kernels/cuda/select.h"

namespace v4i::bench::cuda {
namespace {

constexpr int kRatio = 4;  // tokens of a compressed row in CSA layers

kc::IndexShape shape_of(const Shapes& s) {
  kc::IndexShape i;
  i.dim = s.index_dim, i.heads = s.index_heads, i.rope = s.rope;
  i.ratio = kRatio, i.topk = s.topk, i.native = 1;
  return i;
}

// Scores of a launch and the choice after them.
struct IndexRun {
  std::vector<kc::IndexScoresArgs> scores;  // of every variant
  std::vector<kc::TopRowsArgs> best;
  std::int64_t rows;  // that a token sees
  int processors;
  double keys_bytes = 0, flops = 0, scores_bytes = 0;

  IndexRun(Meter& m, Store& store, const Company& who, Case* c)
      : rows((who.context + (who.one ? who.tokens : 1)) / kRatio), processors(m.info().processors) {
    const Shapes& s = m.shapes();
    const auto all = static_cast<double>(rows);
    keys_bytes = all * who.sequences() * s.key_bytes();
    flops = 2.0 * all * who.tokens * s.index_heads * s.index_dim;
    scores_bytes = 4 * all * who.tokens;
    c->cold = keys_bytes;
    kc::IndexScoresArgs a;
    a.shape = shape_of(s);
    a.tokens = who.tokens;
    const std::int64_t query = kc::index_query_bytes(a.shape) * who.tokens;
    a.query = reinterpret_cast<const std::uint8_t*>(m.floats(query / 4 + 1));
    a.score = m.room(who.tokens * rows);
    a.score_stride = rows;
    kc::TopRowsArgs t;
    t.shape = a.shape;
    t.tokens = a.tokens;
    t.score = a.score;
    t.score_stride = rows;
    t.candidate_stride = kc::top_rows_candidates(rows, s.topk);
    t.candidate_score = m.room(who.tokens * t.candidate_stride);
    t.candidate_row = m.room<std::int32_t>(who.tokens * t.candidate_stride);
    t.selected = m.room<std::int32_t>(std::int64_t{who.tokens} * s.topk);
    for (int v = 0; v < m.variants(*c); ++v) {
      const History h = store.history(who, kRatio);
      a.token = t.token = h.tokens;
      a.keys = h.keys;
      scores.push_back(a);
      best.push_back(t);
    }
  }
  void score(const fc::Stream& s, int v) const {
    const kc::IndexScoresArgs& a = scores[static_cast<std::size_t>(v)];
    s.launch(kc::launch_index_scores(a, rows, processors), a);
  }
  void choose(const fc::Stream& s, int v) const {
    const kc::TopRowsArgs& t = best[static_cast<std::size_t>(v)];
    s.launch(kc::launch_top_rows(t, rows), t);
    s.launch(kc::launch_top_rows_merge(t, rows), t);
  }
};

std::string shape_text(const Company& who, std::int64_t rows) {
  return fmt::format("{} rows; {} before; {}", rows, who.context,
                     who.one ? "one sequence" : "a sequence each");
}

void measure(Meter& m, Store& store, const Company& who) {
  Case c{"index_scores", shape_text(who, (who.context + who.tokens) / kRatio), who.tokens};
  try {
    m.begin();
    const IndexRun run(m, store, who, &c);
    c.shape = shape_text(who, run.rows);
    c.bytes = run.keys_bytes + run.scores_bytes;
    c.flops = run.flops;
    m.measure(c, [&](const fc::Stream& s, int v) { run.score(s, v); });
    m.measure({"top_rows", c.shape, who.tokens, run.scores_bytes, 0, 0},
              [&](const fc::Stream& s, int v) { run.choose(s, v); });
  } catch (const std::exception& e) {
    m.failed(c, e);
  }
}

void measure_queries(Meter& m, Store& store, int tokens) {
  const Shapes& s = m.shapes();
  m.begin();
  kc::IndexHeadsArgs a;
  a.shape = shape_of(s);
  a.tokens = tokens;
  a.weight_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.index_dim)) /
                                      std::sqrt(static_cast<double>(s.index_heads)));
  a.token = store.history({tokens, s.contexts.front(), true}, 0).tokens;
  const std::int64_t width = std::int64_t{s.index_heads} * s.index_dim;
  a.q = m.floats(tokens * width);
  a.weight = m.floats(std::int64_t{tokens} * s.index_heads);
  a.cos_sin = m.floats(std::int64_t{tokens} * s.rope);
  a.query = m.room<std::uint8_t>(tokens * kc::index_query_bytes(a.shape));
  const double bytes = 4.0 * tokens * static_cast<double>(width) +
                       static_cast<double>(kc::index_query_bytes(a.shape)) * tokens;
  m.measure({"index_heads", fmt::format("{} heads of {}", s.index_heads, s.index_dim), tokens,
             bytes, 0, 0},
            [&](const fc::Stream& st, int) { st.launch(kc::launch_index_heads(a), a); });
}

// Attention over all compressed rows of a CSA layer, and over those the indexer chose.
void measure_choice(Meter& m, Store& store, const Company& who) {
  const Shapes& s = m.shapes();
  const std::int64_t rows = (who.context + 1) / kRatio;
  Case c{"sparse", "", who.tokens};
  const auto shape = [&](const char* what) {
    return fmt::format("{}; fp8 rows; {} before", what, who.context);
  };
  try {
    m.begin();
    c.shape = shape("dense: all rows");
    const AttentionRun dense(m, store, who, {kRatio, false}, &c);
    c.bytes = dense.rows_bytes, c.flops = dense.flops;
    m.measure(c, [&](const fc::Stream& st, int v) { dense.launch(st, v); });
    m.begin();
    c.shape = shape("sparse: scores + choice + chosen rows");
    const IndexRun index(m, store, who, &c);
    Case of_attention = c;
    const AttentionRun sparse(m, store, who, {kRatio, rows > s.topk}, &of_attention);
    const int most = static_cast<int>(sparse.args.size());
    c.bytes = index.keys_bytes + 2 * index.scores_bytes + sparse.rows_bytes;
    c.flops = index.flops + sparse.flops;
    m.measure(c, [&](const fc::Stream& st, int v) {
      index.score(st, v);
      index.choose(st, v);
      sparse.launch(st, v % most);
    });
  } catch (const std::exception& e) {
    m.failed(c, e);
  }
}

}  // namespace

void measure_indexer(Meter& m) {
  Store store(m);
  for (const int tokens : m.shapes().tokens()) measure_queries(m, store, tokens);
  const std::vector<Company> all =
      m.dry() ? std::vector<Company>{{1, 0, false}, {16, 0, true}}
              : std::vector<Company>{{1, 0, false}, {8, 0, false}, {64, 0, true}, {512, 0, true}};
  for (Company who : all)
    for (const std::int64_t context : m.shapes().contexts) {
      who.context = context - (who.one ? who.tokens : 1);
      measure(m, store, who);
    }
}

void measure_sparse(Meter& m) {
  Store store(m);
  for (const int tokens : m.dry() ? std::vector<int>{1} : std::vector<int>{1, 8, 64})
    for (const std::int64_t context : m.shapes().contexts)
      measure_choice(m, store, {tokens, context - 1, false});
}

}  // namespace v4i::bench::cuda
