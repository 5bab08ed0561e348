// Attention over window rows and compressed rows.
#include "bench/cuda/attention.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "bench/cuda/families.h"

namespace v4i::bench::cuda {
namespace {

// topk rows of those that each token sees, rising: one of every `step` that follow one another.
std::vector<std::int32_t> choices(const Shapes& s, const Company& who, int ratio,
                                  std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::int64_t step = who.context / ratio / s.topk;
  std::vector<std::int32_t> all;
  for (int t = 0; t < who.tokens; ++t)
    for (int i = 0; i < s.topk; ++i)
      all.push_back(static_cast<std::int32_t>(
          i * step + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(step))));
  return all;
}

// Compressed rows that the first token reads.
std::int64_t rows_of(const Shapes& s, const Company& who, const Reading& what) {
  if (what.ratio == 0) return 0;
  return what.chosen ? s.topk : (who.context + 1) / what.ratio;
}

kc::SparseAttentionArgs shape_of(const Shapes& s, const Company& who, const Reading& what) {
  kc::SparseAttentionArgs a;
  a.n = who.tokens;
  a.heads = s.heads, a.dim = s.dim, a.rope = s.rope;
  a.row_bytes = s.row_bytes();
  a.window = s.window, a.window_slots = s.window + 4;
  a.ratio = what.ratio, a.topk = s.topk;
  a.max_rows = static_cast<std::int32_t>(s.window + rows_of(s, who, what) + 1);
  a.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.dim)));
  a.native = 1;
  return a;
}

}  // namespace

AttentionRun::AttentionRun(Meter& m, Store& store, const Company& who, const Reading& what,
                           Case* c) {
  const Shapes& s = m.shapes();
  const std::int64_t each = rows_of(s, who, what), width = std::int64_t{s.heads} * s.dim;
  const double read = static_cast<double>(s.window) + static_cast<double>(each);
  flops = 4 * read * static_cast<double>(width) * who.tokens;
  double different = read * who.tokens;
  if (who.one)  // tokens read each other's rows
    different = std::min(
        different,
        static_cast<double>(s.window + who.tokens) +
            (what.ratio == 0 ? 0 : static_cast<double>(who.context + who.tokens) / what.ratio));
  rows_bytes = different * s.row_bytes();
  c->cold = rows_bytes;
  kc::SparseAttentionArgs a = shape_of(s, who, what);
  a.q = m.floats(who.tokens * width);
  a.sink = m.floats(s.heads);
  a.cos_sin = m.floats(std::int64_t{who.tokens} * s.rope);
  a.out = m.room(who.tokens * width);
  a.partial = m.room(static_cast<std::int64_t>(kc::attention_partial_bytes(a) / sizeof(float)));
  a.rows = store.staged();
  for (int v = 0; v < m.variants(*c); ++v) {
    const History h = store.history(who, what.ratio, what.pinned);
    a.tokens = h.tokens;
    a.sequences = h.sequences;
    a.main = h.rows;
    if (what.chosen)
      a.selected = m.copy_of(choices(s, who, what.ratio, static_cast<std::uint64_t>(v)));
    args.push_back(a);
  }
}

void AttentionRun::launch(const fc::Stream& s, int variant) const {
  const kc::SparseAttentionArgs& a = args[static_cast<std::size_t>(variant)];
  s.launch(kc::launch_attention(a), a);
  s.launch(kc::launch_attention_merge(a), a);
}

namespace {

void measure(Meter& m, Store& store, const Company& who, const Reading& what) {
  const Shapes& s = m.shapes();
  Case c{"attention", "", who.tokens};
  c.shape = fmt::format("{}; {} rows; {} before; {}",
                        what.ratio == 0 ? "window"
                        : what.chosen   ? "window + chosen"
                                        : "HCA",
                        s.window + rows_of(s, who, what), who.context,
                        who.one ? "one sequence" : "a sequence each");
  if (what.pinned > 0) c.shape += fmt::format("; {} of 10 blocks pinned", what.pinned);
  try {
    m.begin();
    const AttentionRun run(m, store, who, what, &c);
    c.bytes = run.rows_bytes;
    if (who.tokens > 8) c.bytes += 8.0 * who.tokens * s.heads * s.dim;  // queries in, results out
    c.flops = run.flops;
    m.measure(c, [&](const fc::Stream& st, int v) { run.launch(st, v); });
  } catch (const std::exception& e) {
    m.failed(c, e);
  }
}

}  // namespace

void measure_attention(Meter& m) {
  Store store(m);
  const std::vector<Company> all =
      m.dry() ? std::vector<Company>{{1, 0, false}, {2, 0, false}, {64, 0, true}}
              : std::vector<Company>{{1, 0, false}, {8, 0, false}, {64, 0, false}, {512, 0, true}};
  for (Company who : all) {
    who.context = m.shapes().contexts.back() / 8;
    measure(m, store, who, {0, false});
    measure(m, store, who, {4, true});
    if (who.tokens <= 8)
      for (const int pinned : {8, 10}) measure(m, store, who, {4, true, pinned});
    for (const std::int64_t context : m.shapes().contexts) {
      who.context = context - (who.one ? who.tokens : 1);
      measure(m, store, who, {128, false});
    }
  }
}

}  // namespace v4i::bench::cuda
