// Sessions whose KV blocks go through stores: v4i_session_options.tiers.
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/capi/tiered_host.h"

using namespace v4i::test;

TEST_CASE("a session's blocks go to its tiers, leave memory when told, and come back") {
  Host host;
  const auto blocks = std::make_shared<MapBlocks>();
  const KvStore store = host.wrap(blocks);
  v4infer::Session s = host.session({store.get()});
  std::uint64_t most = 0, least = ~std::uint64_t{0};
  const std::string text = talk(s, [&] {
    most = std::max(most, host.kv_bytes());
    host.squeeze();
    least = std::min(least, host.kv_bytes());
  });
  CHECK(text == plain_text());
  CHECK(blocks->puts > 0);
  CHECK(blocks->gets > 0);
  CHECK(least < most);
  const v4i_session_info info = ok(s.info());
  CHECK(info.kv_store_bytes > 0);
  CHECK(most - least > info.kv_store_bytes / 2);
  const v4i_kv_stats stats = ok(store.stats());
  CHECK(stats.hits == blocks->gets);
  CHECK((stats.misses == 0 && stats.errors == 0));
  CHECK(stats.read_bytes > info.kv_store_bytes);  // several times, and with a checksum each
  CHECK(stats.write_bytes > info.kv_store_bytes);
  const v4i_session_metrics m = ok(s.metrics());
  CHECK((m.kv_row_loads > 0 && m.kv_rows > m.kv_row_loads && m.kv_wait_ns > 0));
  CHECK((m.expert_uses == 0 && m.expert_loads == 0));  // they are mapped
  v4infer::Session plain = host.session({});
  ok(plain.append(some_tokens(kPrompt)));
  ok(plain.prefill());
  CHECK(ok(plain.info()).kv_store_bytes == 0);
}

TEST_CASE("stores that break the contract in every way change no text and cause no failure") {
  for (int m = 0; m < kManners; ++m) {
    const auto manner = static_cast<Manner>(m);
    if (manner == Manner::kNeverReports) continue;  // ten seconds each: in the self-test's test
    CAPTURE(m);
    const auto blocks = std::make_shared<MapBlocks>();
    {
      Host host;
      const KvStore store = host.wrap(blocks, manner);
      v4infer::Session s = host.session({store.get()});
      CHECK(talk(s, [&] { host.squeeze(); }) == plain_text());
      CHECK(blocks->called > 0);
      const bool quiet = manner == Manner::kGood || manner == Manner::kForgets;
      const std::uint64_t errors = ok(store.stats()).errors;
      CHECK((errors == 0) == (quiet || manner == Manner::kFull));
      const bool told = !quiet && manner != Manner::kFull && manner != Manner::kFlipBits;
      CHECK(host.logged("map: ") == told);
      if (manner == Manner::kThrow) CHECK(host.logged("the rack has no power"));
    }
    CHECK(blocks->closed == 1);
  }
}

TEST_CASE("what one session has left in a store, another one of another engine takes up") {
  const auto blocks = std::make_shared<MapBlocks>();
  {
    Host host;
    const KvStore store = host.wrap(blocks);
    v4infer::Session s = host.session({store.get()});
    CHECK(talk(s, [] {}) == plain_text());
    CHECK(ok(s.info()).reused_tokens == 0);
  }
  Host host;
  const KvStore store = host.wrap(blocks);
  v4infer::Session s = host.session({store.get()});
  CHECK(talk(s, [] {}) == plain_text());
  CHECK(ok(s.info()).reused_tokens >= 512);
  CHECK(ok(s.metrics()).prefill_tokens <= kPrompt - 512);
  v4infer::Session without = host.session({});
  CHECK(talk(without, [] {}) == plain_text());
  CHECK(ok(without.info()).reused_tokens == 0);
}

TEST_CASE("where a prompt ended stays in the store, whatever its session goes on with") {
  const auto blocks = std::make_shared<MapBlocks>();
  const auto prompt = some_tokens(1100);
  const auto begin = [&](Host& host, const KvStore& store) {
    v4infer::Session s = host.session({store.get()});
    ok(s.append(prompt));
    ok(s.prefill());
    return s;
  };
  {
    Host host;
    const KvStore store = host.wrap(blocks);
    v4infer::Session s = begin(host, store);
    for (int turn = 0; turn < 8; ++turn) {
      ok(s.append(some_tokens(600)));
      ok(s.prefill());
    }
  }
  Host host;
  const KvStore store = host.wrap(blocks);
  CHECK(ok(begin(host, store).info()).reused_tokens == 1024);
}

TEST_CASE("tiers are asked in their order, and each gets every block") {
  const auto fast = std::make_shared<MapBlocks>(), slow = std::make_shared<MapBlocks>();
  Host host;
  const KvStore a = host.wrap(fast), b = host.wrap(slow);
  v4infer::Session s = host.session({a.get(), b.get()});
  int calls = 0;
  CHECK(talk(s, [&] {
          if (++calls == 4) fast->blocks.clear();
          host.squeeze();
        }) == plain_text());
  CHECK(fast->puts == slow->puts);
  CHECK(fast->gets > slow->gets);
  CHECK(slow->gets > 0);
  CHECK(ok(a.stats()).misses > 0);
}

TEST_CASE("sessions with other tiers step together") {
  Host host;
  const auto one = std::make_shared<MapBlocks>(), two = std::make_shared<MapBlocks>();
  const KvStore a = host.wrap(one), b = host.wrap(two);
  std::vector<v4infer::Session> sessions;
  sessions.push_back(host.session({}));
  sessions.push_back(host.session({a.get()}));
  sessions.push_back(host.session({b.get()}));
  sessions.push_back(host.session({b.get(), a.get()}));
  std::vector<v4i_session*> raw;
  std::vector<std::string> text(sessions.size());
  for (auto& s : sessions) {
    ok(s.append(some_tokens(kPrompt)));
    ok(s.prefill());
    raw.push_back(s.get());
  }
  std::vector<v4i_step> steps;
  std::vector<v4i_status> status;
  for (int i = 0; i < 6; ++i) {
    host.squeeze();
    ok(v4infer::step_many(raw, steps, status));
    for (std::size_t k = 0; k < raw.size(); ++k) {
      REQUIRE(status[k] == V4I_OK);
      text[k] += std::to_string(steps[k].tokens[0]) + " ";
    }
  }
  for (const std::string& t : text) CHECK(t == plain_text());
  CHECK(one->gets + two->gets > 0);
}

TEST_CASE("sessions on many threads share a store, whose functions run one at a time") {
  Host host;
  auto mine = std::make_unique<MapStore>(std::make_shared<MapBlocks>());
  std::atomic<int> inside{0}, overlaps{0};
  MapStore* const raw = mine.get();
  raw->inside = [&] {
    if (++inside > 1) ++overlaps;
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    --inside;
  };
  const KvStore store = ok(KvStore::wrap(host.engine, std::move(mine)));
  std::vector<v4infer::Session> sessions;
  std::vector<std::string> text(4);
  for (std::size_t i = 0; i < text.size(); ++i) sessions.push_back(host.session({store.get()}));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < text.size(); ++i)
    threads.emplace_back([&, i] {
      v4infer::Session& s = sessions[i];
      // The budget is next to nothing now and then: what was refused is asked again.
      const auto refused = [](const v4infer::Error& e) { return e.code() == V4I_E_NO_MEMORY; };
      if (s.append(some_tokens(kPrompt))) return;
      while (refused(s.prefill())) continue;
      for (int k = 0; k < 6;) {
        auto step = s.step();
        if (refused(step.error())) continue;
        if (!step) return;
        text[i] += std::to_string(step->tokens[0]) + " ";
        ++k;
      }
    });
  for (int i = 0; i < 20; ++i) host.squeeze();
  for (std::thread& t : threads) t.join();
  for (const std::string& t : text) CHECK(t == plain_text());
  CHECK(overlaps == 0);
}

TEST_CASE("a fork and a restored session use the tiers, too") {
  const auto blocks = std::make_shared<MapBlocks>();
  Host host;
  KvStore store = host.wrap(blocks);
  v4infer::Session s = host.session({store.get()});
  CHECK(talk(s, [] {}) == plain_text());
  v4infer::Session copy = ok(s.fork());
  std::string bytes;
  ok(s.save([&](const void* data, std::size_t n) {
    bytes.append(static_cast<const char*>(data), n);
    return true;
  }));
  s = {};
  auto o = v4infer::init<v4i_session_options>();
  v4i_kv_store* const tiers[] = {store.get()};
  o.tiers = tiers;
  o.tier_count = 1;
  std::size_t at = 0;
  v4infer::Session back = ok(v4infer::Session::restore(
      host.model,
      [&](void* data, std::size_t n) {
        std::memcpy(data, bytes.data() + at, n);
        at += n;
        return n;
      },
      o));
  host.squeeze();
  const std::uint64_t gets = blocks->gets;
  CHECK(ok(copy.step()).tokens[0] == ok(back.step()).tokens[0]);
  CHECK(blocks->gets > gets);
  CHECK(ok(back.info()).kv_store_bytes > 0);
  CHECK(ok(copy.info()).kv_store_bytes == ok(back.info()).kv_store_bytes);
}

TEST_CASE("tiers that are none are refused") {
  Host host, stranger;
  const auto blocks = std::make_shared<MapBlocks>();
  const KvStore store = host.wrap(blocks), theirs = stranger.wrap(blocks);
  const auto refuse = [&](const std::vector<v4i_kv_store*>& tiers, const char* word) {
    auto o = v4infer::init<v4i_session_options>();
    o.tiers = tiers.data();
    o.tier_count = tiers.size();
    v4i_session* out = nullptr;
    refused(V4I_E_INVALID, word,
            [&](v4i_error** err) { return v4i_session_create(host.model.get(), &o, &out, err); });
    CHECK(out == nullptr);
  };
  refuse({nullptr}, "tiers[0] is NULL");
  refuse({store.get(), theirs.get()}, "tiers[1] is a store of another engine");
  refuse({store.get(), store.get()}, "tiers[1] is there twice");
  refuse(std::vector<v4i_kv_store*>(17, store.get()), "tier_count is 17, allowed is 0 to 16");
}
