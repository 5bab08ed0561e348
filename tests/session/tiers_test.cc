// Little memory, a store below: the same bits, whatever is where.
#include <cstdlib>
#include <functional>
#include <map>
#include <random>

#include "tests/session/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/unreliable_store.h"

namespace v4i::session::test {

namespace {

using v4i::test::UnreliableStore;

// What a session may do with its tokens, by seed; gives the last logits and every text on the way.
struct Talk {
  Ids ids;
  Logits logits;
  bool operator==(const Talk&) const = default;
};

using SetForks = std::function<void(int)>;  // how many forks there are, at most

Talk talk(
    Session& s, std::uint32_t seed, const SetForks& set_forks = [](int) {}) {
  std::mt19937 random(seed);
  s.set_sampler(hot());
  std::unique_ptr<Session> fork;
  RunOptions run;
  const Ids prompt = make_ids(600, 1 + seed % 3);
  for (std::size_t at = 0; at < prompt.size();) {
    const std::size_t n = std::min<std::size_t>(prompt.size() - at, 1 + random() % 300);
    s.append(part(prompt, at, n));
    at += n;
    if (random() % 2 == 0) s.prefill(run);
    if (random() % 4 == 0) {
      fork.reset();
      set_forks(1);
      fork = s.fork();
    }
    if (random() % 5 == 0) s.step(run);
    if (random() % 6 == 0)
      s.rewind(static_cast<std::int64_t>(s.tokens().size() - random() % s.tokens().size() / 8));
  }
  Talk out;
  for (Session* one : {&s, fork.get()}) {
    if (one == nullptr) continue;
    for (int i = 0; i < 4; ++i) one->step(run);
    one->prefill(run);
    out.ids.insert(out.ids.end(), one->tokens().begin(), one->tokens().end());
    const Logits l = last(*one);
    out.logits.insert(out.logits.end(), l.begin(), l.end());
  }
  return out;
}

Talk plain(std::uint32_t seed, forward::Numerics numerics) {
  static std::map<std::pair<std::uint32_t, int>, Talk> known;
  Talk& t = known[{seed, static_cast<int>(numerics)}];
  if (t.ids.empty())
    t = talk(*make_session(open({.numerics = numerics, .context = 2048}), 5), seed);
  return t;
}

// What has to be there: windows of a long chunk, transfers, a wave of rows, the names of blocks,
// the open blocks of two sessions, the index keys of one layer.
std::uint64_t least(const kv::Layout& layout, int batch) {
  constexpr std::uint64_t kTokens = 600, kTransfers = 64 << 10, kRowList = 240;
  std::uint64_t blocks = 0;
  for (const kv::LayerLayout& l : layout.layers)
    if (l.ratio > 0)
      blocks += kTokens / static_cast<std::uint64_t>(l.ratio) / 4 * (l.index_keys ? 2 : 1);
  const std::uint64_t names = blocks * (store::Block::kBookkeeping + kRowList) * 5 / 4;
  const std::uint64_t pair = layout.main_row.bytes() + layout.key.bytes();
  const std::uint64_t open_blocks = 2 * 2 * 4 * pair * static_cast<std::uint64_t>(batch + 48) / 16;
  return names + kTransfers + 64 * (pair + 24) + open_blocks + layout.key.bytes() * 180 +
         (batch > 16 ? layout.fixed_bytes : 0);
}

}  // namespace

TEST_CASE("memory for a part of the KV, and stores of every kind, give the same bits",
          "[session][tiers]") {
#ifdef V4I_TEST_GUARDED
  std::uint32_t runs = 10;  // its pages take time to open
#else
  std::uint32_t runs = 150;
#endif
  if (const char* wanted = std::getenv("V4I_TEST_SEEDS"))
    runs = static_cast<std::uint32_t>(std::atoi(wanted));
  // A get is tried three times: these lose about one in ten thousand.
  const UnreliableStore::Chances all[] = {
      {},
      {},
      {.delay = 40},
      {.forget = 1},
      {.damage = 4},
      {.forget = 1, .damage = 2, .fail = 2, .refuse = 2, .delay = 30}};
  std::uint64_t expert_misses = 0, row_misses = 0, row_hits = 0, evicted = 0, lost = 0, parts = 0;
  for (std::uint32_t run = 0; run < runs; ++run) {
    std::mt19937 random(run);
    const auto numerics = kBoth[random() % 2];
    const std::uint32_t seed = random() % 12;
    const bool reads_parts = run % 2 == 0;
    const auto store =
        std::make_shared<UnreliableStore>(run, all[random() % std::size(all)], reads_parts);
    const int batch = 8 << random() % 4;
    const std::size_t slots[] = {0, 0, 1, 2, 5, 16};  // of 40 experts; none: they are mapped
    const std::size_t expert_slots = slots[random() % std::size(slots)];
    const auto context = open({.numerics = numerics,
                               .batch = batch,
                               .context = 2048,
                               .kv_store = store,
                               .rows_per_block = 4,
                               .expert_slots = expert_slots});
    const auto s = make_session(context, 5);
    Budget& budget = context->engine().budget();
    const Place place = kv_place(*context);
    const kv::Layout& layout = *context->layout();
    const std::uint64_t kv = layout.bytes(600) - layout.fixed_bytes;
    const std::uint64_t share = kv * (10 + random() % 30) / 100;
    const experts::Stats before = context->experts().stats();
    std::uint64_t base = budget.used(place) + least(layout, batch) + share;
    if (place == Place::kHost && expert_slots > before.slots)
      base += (expert_slots - before.slots) * before.slot_bytes;
    budget.change_cap(base, place);
    CAPTURE(run, seed, static_cast<int>(numerics), share, kv, batch, expert_slots);
    const Talk got = talk(*s, seed, [&](int forks) {
      budget.change_cap(base + static_cast<std::uint64_t>(forks) * layout.fixed_bytes, place);
    });
    REQUIRE(got == plain(seed, numerics));
    REQUIRE(budget.peak(place) <= budget.cap(place));
    const store::CacheStats stats = context->cache().stats();
    REQUIRE(stats.conflicts == 0);
    expert_misses += context->experts().stats().misses;
    row_misses += stats.row_misses;
    row_hits += stats.row_hits;
    evicted += stats.evicted;
    lost += stats.lost;
    parts += store->parts_read;
  }
  WARN(evicted << " blocks left memory, " << lost << " were lost; of the rows asked for "
               << row_hits << " were there, " << row_misses << " came, " << parts
               << " reads of pages; " << expert_misses << " experts were read");
  CHECK(evicted > 50 * runs);
  CHECK(lost > 0);
  CHECK(expert_misses > 50 * runs);
  CHECK(row_misses > 50 * runs);
  CHECK(row_hits > 50 * runs);
  CHECK(parts > runs);
}

}  // namespace v4i::session::test
