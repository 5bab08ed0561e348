// Where KV blocks lie, and whether a store keeps them, never changes the text.
#include <new>
#include <random>
#include <utility>

#include "lib/base/error.h"
#include "lib/store/host_store.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"
#include "tests/support/unreliable_store.h"

namespace v4i::session::test {

namespace {

using v4i::test::UnreliableStore;

constexpr int kRows = 4;  // of a block: 16 tokens where the ratio is 4

// A prompt, then sampled tokens, with a batch of 32; the last logits, and the ids.
struct Text {
  Ids ids;
  Logits logits;
  bool operator==(const Text&) const = default;
};

Text talk(Session& s, const Ids& prompt, int steps, const std::function<void()>& between) {
  RunOptions run;
  s.set_sampler(hot());
  for (std::size_t at = 0; at < prompt.size(); at += 40) {
    s.append(part(prompt, at, std::min<std::size_t>(40, prompt.size() - at)));
    s.prefill(run);
    between();
  }
  for (int i = 0; i < steps; ++i) {
    s.step(run);
    between();
  }
  s.prefill(run);
  return {Ids(s.tokens().begin(), s.tokens().end()), last(s)};
}

Text plain_talk(const Ids& prompt, int steps) {
  const auto s = make_session(open({.batch = 32}), 5);
  return talk(*s, prompt, steps, [] {});
}

}  // namespace

TEST_CASE("stores of many seeds that lose, damage, delay and refuse blocks give the same text",
          "[session][lost][family]") {
#ifdef V4I_TEST_GUARDED
  constexpr std::uint32_t kSeeds = 20;  // its pages take time to open
#else
  constexpr std::uint32_t kSeeds = 200;
#endif
  const Ids prompt = make_ids(80);
  const Text want = plain_talk(prompt, 8);
  std::uint64_t replayed = 0, lost = 0, fetched = 0, evicted = 0, talks_with_replays = 0;
  UnreliableStore::Chances all[] = {
      {.forget = 5},
      {.damage = 10},
      {.fail = 10, .delay = 30},
      {.refuse = 15, .delay = 30},
      {.forget = 15, .damage = 15, .fail = 15, .refuse = 30, .delay = 50}};
  std::uint64_t met[4] = {};
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const auto store = std::make_shared<UnreliableStore>(seed, all[seed % std::size(all)]);
    const auto context = open({.batch = 32, .kv_store = store, .rows_per_block = kRows});
    const auto s = make_session(context, 5);
    std::mt19937 random(seed);
    const Text got = talk(*s, prompt, 8, [&] {
      if (random() % 3 == 0) {
        context->cache().flush(1'000'000);
        context->cache().spill(random() % 4 == 0 ? ~std::uint64_t{0} : random() % 40000);
      }
    });
    CAPTURE(seed);
    REQUIRE(got == want);
    const store::CacheStats stats = context->cache().stats();
    REQUIRE(stats.conflicts == 0);
    replayed += s->metrics().replayed_tokens;
    talks_with_replays += s->metrics().replayed_tokens > 0 ? 1 : 0;
    lost += stats.lost;
    fetched += stats.fetched;
    evicted += stats.evicted;
    met[0] += store->forgotten;
    met[1] += store->damaged;
    met[2] += store->failed;
    met[3] += store->refused;
  }
  WARN("replayed " << replayed << " tokens in " << talks_with_replays << " of " << kSeeds
                   << " talks; blocks: " << evicted << " left memory, " << fetched << " came back, "
                   << lost << " were lost");
  CHECK(talks_with_replays > kSeeds / 5);
  CHECK(lost > kSeeds);
  CHECK(fetched > 5 * kSeeds);
  for (const std::uint64_t n : met) CHECK(n > kSeeds / 4);
}

TEST_CASE("a store that forgets everything still ends", "[session][lost]") {
  const Ids prompt = make_ids(150);
  const Text want = plain_talk(prompt, 5);
  const auto store = std::make_shared<UnreliableStore>(1, UnreliableStore::Chances{.forget = 100});
  const auto context = open({.batch = 32, .kv_store = store, .rows_per_block = kRows});
  const auto s = make_session(context, 5);
  const Text got = talk(*s, prompt, 5, [&] {
    context->cache().flush(1'000'000);
    context->cache().spill(~std::uint64_t{0});
  });
  CHECK(got == want);
  CHECK(context->cache().stats().fetched == 0);
  CHECK(s->metrics().replayed_tokens > 150);
}

TEST_CASE(
    "sessions that do not fit the budget together leave memory for each other, with the same text",
    "[session][lost]") {
  const Ids a = make_ids(400, 1), b = make_ids(400, 2), c = make_ids(400, 3);
  constexpr int kLarge = 16;  // rows of a block: less bookkeeping, which does not leave memory
  const Text want[3] = {plain_talk(a, 10), plain_talk(b, 10), plain_talk(c, 10)};
  std::uint64_t peak = 0, blocks = 0;  // of the budget; of one session
  const auto run_three = [&](std::uint64_t cap, std::shared_ptr<store::BlockStore> below) {
    const auto context =
        open({.batch = 32, .kv_store = std::move(below), .rows_per_block = kLarge});
    const Place place = kv_place(*context);
    context->engine().budget().set_cap(cap, place);
    std::vector<std::unique_ptr<Session>> sessions;
    for (int i = 0; i < 3; ++i) sessions.push_back(make_session(context, 5));
    const Ids* prompts[] = {&a, &b, &c};
    for (std::size_t i = 0; i < 3; ++i) {
      const Text got = talk(*sessions[i], *prompts[i], 10, [] {});
      CHECK(got == want[i]);
    }
    for (const auto& s : sessions) s->step({});  // once more each, from where they are
    peak = context->engine().budget().peak(place);
    blocks = sessions[0]->kv_bytes() - context->layout()->fixed_bytes;
    return context->cache().stats();
  };
  run_three(Budget::kNoCap, nullptr);
  const std::uint64_t own = blocks, tools = 72 << 10;  // rows, transfers and names need some of it
  const std::uint64_t cap = peak - 2 * own + tools;
  REQUIRE(2 * own > tools + (16 << 10));
  CHECK(v4i::test::refusal_code([&] { run_three(cap, nullptr); }) == Code::kNoMemory);
  const auto stats =
      run_three(cap, std::make_shared<UnreliableStore>(1, UnreliableStore::Chances{}));
  CHECK(peak <= cap);
  CHECK(stats.evicted > 10);
  CHECK(stats.fetched > 10);
  CHECK(stats.lost == 0);
  // A store that loses: a session whose rows are lost twice keeps its own in memory meanwhile.
  const std::uint64_t more = cap + own / 8;
  for (std::uint32_t seed = 1; seed < 4; ++seed) {
    const auto lossy =
        run_three(more, std::make_shared<UnreliableStore>(
                            seed, UnreliableStore::Chances{.forget = 20, .fail = 15, .refuse = 5}));
    CHECK(peak <= more);
    CHECK(lossy.lost > 0);
  }
}

TEST_CASE("in a batch, a session whose lost rows cannot be computed again fails alone",
          "[session][lost]") {
#ifdef V4I_TEST_CUDA
  return;  // the host's allocator, whose refusal is tested, gives no KV rows here
#endif
  // The store goes away, and the first allocation after that fails.
  struct Away final : store::BlockStore {
    UnreliableStore inner{1, {}};
    bool away = false, fail_next = false;
    void begin_put(const store::BlockKey& k, std::span<const std::byte> b,
                   std::uint64_t t) override {
      inner.begin_put(k, b, t);
    }
    void begin_get(const store::BlockKey& k, std::span<std::byte> b, std::uint64_t t) override {
      if (away) fail(Code::kIo, "the store is away");
      inner.begin_get(k, b, t);
    }
    std::size_t poll(std::span<store::Completion> out, std::uint64_t t) override {
      return inner.poll(out, t);
    }
    bool contains(const store::BlockKey& k) override {
      fail_next = fail_next || away;
      return inner.contains(k);
    }
    void erase(const store::BlockKey& k) override { inner.erase(k); }
    std::uint64_t bytes_used() const override { return inner.bytes_used(); }
  };
  const auto store = std::make_shared<Away>();
  EngineOptions eo;
  eo.threads = 1;
  eo.allocator = {[](std::size_t bytes, std::size_t align, void* user) -> void* {
                    auto* s = static_cast<Away*>(user);
                    if (std::exchange(s->fail_next, false)) return nullptr;
                    return ::operator new (bytes, std::align_val_t{align}, std::nothrow);
                  },
                  [](void* p, std::size_t, std::size_t align, void*) {
                    ::operator delete (p, std::align_val_t{align});
                  },
                  store.get()};
  const auto context =
      open(std::make_shared<Engine>(eo), {.batch = 32, .kv_store = store, .rows_per_block = kRows});
  const Ids a = make_ids(60, 1), b = make_ids(60, 2);
  const Text want_a = plain_talk(a, 4), want_b = plain_talk(b, 4);
  const auto first = make_session(context, 5), second = make_session(context, 5);
  Session* both[] = {first.get(), second.get()};
  first->append(a);
  second->append(b);
  for (Session* s : both) s->set_sampler(hot());
  Step steps[2];
  Code codes[2];
  int failed = 0;
  for (std::size_t i = 0; i < 4;) {
    if (i == 2 && failed == 0) {
      context->cache().flush(1'000'000);
      context->cache().spill(~std::uint64_t{0});
      store->away = true;
    }
    step_many(both, {}, steps, codes, nullptr);
    store->away = store->fail_next = false;
    for (const Code c : codes) failed += c == Code::kNoMemory ? 1 : 0;
    for (std::size_t k = 0; k < 2; ++k)  // whoever did not step steps now
      if (codes[k] != Code::kOk) both[k]->step({});
    ++i;
  }
  CHECK(failed > 0);
  for (Session* s : both) s->prefill({});
  CHECK(Ids(first->tokens().begin(), first->tokens().end()) == want_a.ids);
  CHECK(Ids(second->tokens().begin(), second->tokens().end()) == want_b.ids);
  CHECK(last(*first) == want_a.logits);
}

TEST_CASE("another process takes up a prefix from the store, and goes on with the same bits",
          "[session][lost][family]") {
  const auto store = std::make_shared<UnreliableStore>(1, UnreliableStore::Chances{});
  const Ids shared = make_ids(700);
  Ids other = make_ids(60, 9);
  other.insert(other.begin(), shared.begin(), shared.end());
  const Logits want = reference(other);
  {
    const auto context = open({.kv_store = store});
    const auto s = make_session(context);
    s->append(shared);
    s->prefill({});
    CHECK(s->metrics().taken_up_tokens == 0);
  }
  const auto context = open({.kv_store = store});
  const auto s = make_session(context);
  s->append(other);
  s->prefill({});
  CHECK(s->metrics().taken_up_tokens == 512);
  CHECK(s->metrics().prefill_tokens == 760 - 512);
  CHECK(same_rows(last(*s), 0, want, 759, 1));
  CHECK(context->cache().stats().fetched > 0);
  s->rewind(600);
  const Logits again = eval(*s, part(other, 600, 160));
  CHECK(same_rows(again, 0, want, 600, 160));
  // Another model, numerics or prompt finds nothing.
  const auto exact = make_session(open({.numerics = forward::Numerics::kExact, .kv_store = store}));
  exact->append(other);
  exact->prefill({});
  CHECK(exact->metrics().taken_up_tokens == 0);
  const auto stranger = make_session(context);
  stranger->append(make_ids(700, 4));
  stranger->prefill({});
  CHECK(stranger->metrics().taken_up_tokens == 0);
}

TEST_CASE("a session takes up what another one of its context holds, without any store",
          "[session][lost][family]") {
  const Ids ids = make_ids(600);
  const Logits want = reference(ids);
  const auto context = open(Open{});
  const auto first = make_session(context), second = make_session(context);
  first->append(ids);
  first->prefill({});
  second->append(ids);
  second->prefill({});
  CHECK(second->metrics().taken_up_tokens == 512);
  CHECK(same_rows(last(*second), 0, want, 599, 1));
  Session* both[] = {make_session(context).release(), make_session(context).release()};
  const std::unique_ptr<Session> own[] = {std::unique_ptr<Session>(both[0]),
                                          std::unique_ptr<Session>(both[1])};
  for (Session* s : both) s->append(ids);
  Step steps[2];
  Code status[2];
  step_many(both, {}, steps, status, nullptr);
  for (Session* s : both) {
    CHECK(s->metrics().taken_up_tokens == 512);
    CHECK(same_rows(last(*s), 0, want, 599, 1));
  }
}

TEST_CASE("a session whose blocks are lost or elsewhere is saved, forked and rewound whole",
          "[session][lost][family]") {
  const Ids ids = make_ids(300);
  const Logits want = reference(ids);
  for (const unsigned forget : {0u, 20u, 100u}) {
    const auto store = std::make_shared<UnreliableStore>(7, UnreliableStore::Chances{forget});
    const auto context = open({.kv_store = store, .rows_per_block = kRows});
    const auto spill = [&] {
      context->cache().flush(1'000'000);
      context->cache().spill(~std::uint64_t{0});
    };
    const auto s = make_session(context);
    s->append(part(ids, 0, 280));
    s->prefill({});
    spill();
    const std::string bytes = save(*s);
    CAPTURE(forget);
    auto restored = restore(open({.rows_per_block = kRows}), bytes);
    CHECK(same_rows(eval(*restored, part(ids, 280, 20)), 0, want, 280, 20));
    spill();
    const auto fork = s->fork();
    spill();
    CHECK(same_rows(eval(*fork, part(ids, 280, 20)), 0, want, 280, 20));
    spill();
    s->rewind(270);
    spill();
    CHECK(same_rows(eval(*s, part(ids, 270, 30)), 0, want, 270, 30));
    CHECK((fork->metrics().replayed_tokens + s->metrics().replayed_tokens > 0) == (forget > 0));
  }
}

}  // namespace v4i::session::test
