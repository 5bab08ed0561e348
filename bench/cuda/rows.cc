// KV rows and queries on their way into attention, and the compressors.
#include "kernels/cuda/rows.h"

#include <algorithm>

#include "bench/cuda/families.h"
#include "bench/cuda/history.h"
#include "kernels/cuda/compressor.h"

namespace v4i::bench::cuda {
namespace {

constexpr float kEps = 1e-6f;

void measure_row_kernels(Meter& m, Store& store, int tokens) {
  const Shapes& s = m.shapes();
  const Company who{tokens, s.contexts.front(), true};
  const auto n = static_cast<double>(tokens);
  m.begin();
  const History h = store.history(who, 0);
  {
    kc::RopeTableArgs a;
    a.tokens = h.tokens;
    for (int i = 0; i < 2; ++i) {
      a.freq[i] = m.floats(s.rope / 2);
      a.table[i] = m.room(std::int64_t{tokens} * s.rope);
    }
    a.n = tokens, a.rope = s.rope;
    m.measure({"rope_table", "two tables", tokens, 8 * n * s.rope, 0, 0},
              [&](const fc::Stream& st, int) { st.launch(kc::launch_rope_table(a), a); });
  }
  const float* table = m.floats(std::int64_t{tokens} * s.rope);
  {
    kc::MakeRowsArgs a{m.floats(std::int64_t{tokens} * s.dim),
                       m.floats(s.dim),
                       table,
                       m.room<std::uint8_t>(std::int64_t{tokens} * s.row_bytes()),
                       tokens,
                       s.dim,
                       s.rope,
                       s.row_bytes(),
                       kEps,
                       1};
    m.measure({"make_rows", fmt::format("{} channels", s.dim), tokens,
               n * (4.0 * s.dim + s.row_bytes()), 0, 0},
              [&](const fc::Stream& st, int) { st.launch(kc::launch_make_rows(a), a); });
  }
  const std::int64_t width = std::int64_t{s.heads} * s.dim;
  kc::QueryHeadsArgs a{m.room(tokens * width), table, tokens, s.heads, s.dim, s.rope, kEps, 1};
  m.measure({"query_heads", fmt::format("{} heads of {}", s.heads, s.dim), tokens,
             8 * n * static_cast<double>(width), 0, 0},
            [&](const fc::Stream& st, int) { st.launch(kc::launch_query_heads(a), a); });
}

// A layer's compressors and rings.
struct Layer {
  const char* name;
  int ratio;
  bool overlap;  // CSA: with index keys
  int slots() const { return ratio * (overlap ? 2 : 1) + 4; }
  int width(int dim) const { return overlap ? 2 * dim : dim; }
  int floats(const Shapes& s) const {
    return 2 * width(s.dim) + (overlap ? 2 * width(s.index_dim) : 0);
  }
};

// Sequences whose rings are memory of their own.
const kc::Sequence* sequences(Meter& m, const Company& who, std::int64_t bytes) {
  std::vector<kc::Sequence> all(static_cast<std::size_t>(who.sequences()));
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].fixed = all[i].written = m.room<std::uint8_t>(bytes);
    all[i].start = who.context;
    all[i].first = static_cast<std::int32_t>(i);
    all[i].count = who.one ? who.tokens : 1;
  }
  return m.copy_of(all);
}

kc::CompressorArgs compressor(Meter& m, const Layer& l, const History& h, int tokens) {
  const Shapes& s = m.shapes();
  kc::CompressorArgs a;
  const auto add = [&](int dim, int slot, const kc::BlockTable& rows) {
    a.part[a.parts++] = {m.floats(std::int64_t{l.ratio} * l.width(dim)), m.floats(dim), dim, slot,
                         rows};
  };
  add(s.dim, 0, h.rows);
  if (l.overlap) add(s.index_dim, 2 * l.width(s.dim), h.keys);
  a.tokens = tokens;
  a.token = h.tokens;
  a.partial = m.room(std::int64_t{tokens} * l.floats(s));
  a.floats = l.floats(s);
  a.partial_slots = l.slots();
  a.frequency = m.floats(s.rope / 2);
  a.eps = kEps;
  a.rope = s.rope;
  a.ratio = l.ratio;
  a.overlap = l.overlap ? 1 : 0;
  a.native = 1;
  return a;
}

// Every token of `who` completes a row, or, in one sequence, every one of `ratio`.
void measure_layer(Meter& m, Store& store, const Layer& l, Company who) {
  const Shapes& s = m.shapes();
  who.context = s.contexts.front() / l.ratio * l.ratio - (who.one ? 0 : 1);
  m.begin();
  const History h = store.history({who.tokens, who.context + who.tokens, who.one}, l.ratio);
  const History at = store.history(who, 0);  // positions from `context` on
  const std::int64_t ring = (s.window + 4) * std::int64_t{s.row_bytes()} / 256 * 256 + 256;
  const std::int64_t fixed = ring + std::int64_t{l.slots()} * l.floats(s) * 4;
  kc::CompressorArgs a = compressor(m, l, {at.tokens, nullptr, h.rows, h.keys}, who.tokens);
  a.sequence = sequences(m, who, fixed);
  a.partial_offset = ring;
  const int done = who.one ? who.tokens / l.ratio : who.tokens;
  const std::string shape = fmt::format("{}; {} rows completed; {}", l.name, done,
                                        who.one ? "one sequence" : "a sequence each");
  const double gates = 4.0 * who.tokens * l.floats(s);
  m.measure({"add_ape", shape, who.tokens, gates, 0, 0},
            [&](const fc::Stream& st, int) { st.launch(kc::launch_add_ape(a), a); });
  const double read =
      4.0 * done * l.ratio * (l.overlap ? 2 : 1) * 2.0 * (s.dim + (l.overlap ? s.index_dim : 0));
  m.measure({"compress", shape, who.tokens, read, 0, 0},
            [&](const fc::Stream& st, int) { st.launch(kc::launch_compress(a), a); });
  kc::KeepRowsArgs k;
  k.tokens = at.tokens;
  k.sequences = a.sequence;
  k.rows = store.staged();
  k.partial = a.partial;
  k.partial_offset = ring;
  k.n = who.tokens;
  k.row_bytes = s.row_bytes();
  k.window_slots = s.window + 4;
  k.partial_floats = l.floats(s);
  k.partial_slots = l.slots();
  const double kept = who.one ? std::min(who.tokens, s.window + 4) * 2.0 * s.row_bytes() +
                                    std::min(who.tokens, l.slots()) * 8.0 * l.floats(s)
                              : who.tokens * (2.0 * s.row_bytes() + 8.0 * l.floats(s));
  m.measure({"keep_rows", l.name, who.tokens, kept, 0, 0},
            [&](const fc::Stream& st, int) { st.launch(kc::launch_keep_rows(k), k); });
}

}  // namespace

void measure_rows(Meter& m) {
  Store store(m);
  for (const int tokens : m.shapes().tokens()) measure_row_kernels(m, store, tokens);
  for (const Layer& l : {Layer{"CSA", 4, true}, Layer{"HCA", 128, false}}) {
    for (const int tokens : m.shapes().few) measure_layer(m, store, l, {tokens, 0, false});
    for (const int tokens : m.shapes().many) measure_layer(m, store, l, {tokens, 0, true});
  }
}

}  // namespace v4i::bench::cuda
