// Sessions with a folder on disk as their tier.
#include <filesystem>

#include "tests/capi/tiered_host.h"
#include "tests/support/tiny_model.h"

using namespace v4i::test;

TEST_CASE("a folder on disk is a tier, passes the self-test, and outlives the engine") {
  const TempDir folder;
  std::uint64_t stored = 0;
  {
    Host host;
    KvStore store = ok(KvStore::open_disk(host.engine, folder.file("kv").c_str()));
    CHECK(ok(store.selftest(1)) == "");
    v4infer::Session s = host.session({store.get()});
    CHECK(talk(s, [&] { host.squeeze(); }) == plain_text());
    const v4i_kv_stats stats = ok(store.stats());
    CHECK((stats.hits > 0 && stats.errors == 0 && stats.blocks > 0));
    stored = ok(s.info()).kv_store_bytes;
    CHECK(stats.bytes > stored);
    CHECK(ok(host.engine.memory()).disk_kv == stats.bytes);
  }
  for (const int read_only : {0, 1}) {
    Host host;
    auto o = v4infer::init<v4i_kv_disk_options>();
    o.read_only = read_only;
    KvStore store = ok(KvStore::open_disk(host.engine, folder.file("kv").c_str(), o));
    v4infer::Session s = host.session({store.get()});
    CHECK(talk(s, [&] { host.squeeze(); }) == plain_text());
    CHECK(ok(s.info()).reused_tokens >= 512);
    const std::uint64_t now =
        ok(s.info()).kv_store_bytes;  // what was computed again may not be put
    CHECK((read_only == 1 ? now > 0 && now < stored : now == stored));
  }
}

TEST_CASE("a session counts the experts it reads, and a disk tier keeps which were used",
          "[heavy]") {
  constexpr std::uint64_t kLess = 90u << 20;  // than the model's files
  const auto tokens = [](v4infer::Session s) {
    ok(s.append(some_tokens(20)));
    std::string out;
    for (int i = 0; i < 4; ++i) out += std::to_string(ok(s.step()).tokens[0]) + " ";
    const v4i_session_metrics m = ok(s.metrics());
    return std::pair(out, m);
  };
  const TempDir folder;
  const auto heat_files = [&] {
    const std::filesystem::directory_iterator files(folder.file("kv"));
    return std::count_if(begin(files), end(files),
                         [](const auto& f) { return f.path().extension() == ".heat"; });
  };
  const std::string path = make_tiny_pro(0);
  const auto [want, mapped] = tokens(Host(0, path).session({}));
  CHECK((mapped.expert_uses == 0 && mapped.expert_loads == 0 && mapped.kv_rows == 0));
  for (int before : {0, 1}) {
    Host host(kLess, path);
    KvStore store = ok(KvStore::open_disk(host.engine, folder.file("kv").c_str()));
    CHECK(heat_files() == before);
    const auto [text, m] = tokens(host.session({store.get()}));
    CHECK(text == want);
    CHECK((m.expert_loads > 0 && m.expert_uses >= m.expert_loads && m.expert_load_bytes > 0));
    CHECK(host.log.empty());
  }
  CHECK(heat_files() == 1);
}

TEST_CASE("disk_bytes of the budget holds for disk tiers") {
  const TempDir folder;
  Host host;
  host.disk_bytes = 1 << 15;
  host.squeeze();
  KvStore store = ok(KvStore::open_disk(host.engine, folder.file("kv").c_str()));
  v4infer::Session s = host.session({store.get()});
  CHECK(talk(s, [&] { host.squeeze(); }) == plain_text());
  CHECK(ok(host.engine.memory()).disk_kv <= 1 << 15);
  CHECK(ok(store.stats()).write_bytes > 0);
}
