// Section 10 of v4infer.h: stores of the host and on disk.
#include <atomic>
#include <thread>

#include "tests/capi/tiered_host.h"

using namespace v4i::test;

TEST_CASE("a store is closed once, after its last ticket, in whatever order things are released") {
  for (const bool session_first : {true, false}) {
    const auto blocks = std::make_shared<MapBlocks>();
    Host host;
    KvStore store = host.wrap(blocks);
    v4infer::Session s = host.session({store.get()}), other = host.session({store.get()});
    talk(s, [] {});
    talk(other, [] {});
    if (session_first) {
      s = {};
      other = {};
      CHECK(blocks->closed == 0);
      store = {};
    } else {
      store = {};
      other = {};
      CHECK(blocks->closed == 0);
      host.squeeze();
      ok(s.step());  // still uses it
      s = {};
    }
    CHECK(blocks->closed == 1);
    CHECK(blocks->open_at_close == 0);
  }
  v4i_kv_store_release(nullptr);
}

TEST_CASE("functions of a store that call back are refused") {
  Host host;
  const auto blocks = std::make_shared<MapBlocks>();
  auto mine = std::make_unique<MapStore>(blocks);
  MapStore* const raw = mine.get();
  KvStore store = ok(KvStore::wrap(host.engine, std::move(mine)));
  v4infer::Session s = host.session({store.get()}), other = host.session({});
  std::atomic<int> busy{0}, else_{0};
  raw->inside = [&] {
    const auto want = [&](v4i_status got, v4i_status wanted) { ++(got == wanted ? busy : else_); };
    std::size_t n = 0;
    auto memory = v4infer::init<v4i_memory_stats>();
    auto stats = v4infer::init<v4i_kv_stats>();
    want(v4i_session_prefill(other.get(), nullptr, nullptr), V4I_E_BUSY);
    want(v4i_session_tokens(s.get(), 0, nullptr, 0, &n, nullptr), V4I_E_BUSY);
    want(v4i_engine_memory(host.engine.get(), &memory, nullptr), V4I_E_BUSY);
    want(v4i_tokenize(host.model.get(), "x", 1, 0, nullptr, 0, &n, nullptr), V4I_E_BUSY);
    want(v4i_kv_store_get_stats(store.get(), &stats, nullptr), V4I_E_BUSY);
    want(v4i_engine_quiesce(host.engine.get(), nullptr), V4I_E_STATE);
    std::thread([&] {  // other threads are not inside
      want(v4i_tokenize(host.model.get(), "x", 1, 0, nullptr, 0, &n, nullptr), V4I_OK);
    })
        .join();
  };
  CHECK(talk(s, [] {}) == plain_text());
  CHECK(busy > 0);
  CHECK(else_ == 0);
  raw->inside = nullptr;
}

TEST_CASE("quiesce closes the host's stores, and their sessions go on without them") {
  Host host;
  const auto blocks = std::make_shared<MapBlocks>();
  KvStore store = host.wrap(blocks);
  v4infer::Session s = host.session({store.get()});
  int calls = 0;
  std::uint64_t called = 0;
  CHECK(talk(s, [&] {
          host.squeeze();
          if (++calls != 3) return;
          REQUIRE(v4i_engine_quiesce(host.engine.get(), nullptr) == V4I_OK);
          CHECK(blocks->closed == 1);
          called = blocks->called;
        }) == plain_text());
  CHECK(blocks->called == called);
  CHECK(ok(store.stats()).bytes == 0);
  store = {};
  s = {};
  CHECK(blocks->called == called);
  CHECK(blocks->closed == 1);
}

TEST_CASE("the self-test passes a proper store and has a line for what another does wrong") {
  Host host;
  for (const bool parts : {false, true}) {
    const auto blocks = std::make_shared<MapBlocks>();
    auto mine = std::make_unique<MapStore>(blocks);
    mine->parts = parts;
    KvStore store = ok(KvStore::wrap(host.engine, std::move(mine)));
    CHECK(ok(store.selftest(1)) == "");
    CHECK(ok(store.selftest(2)) == "");
    CHECK((blocks->parts > 0) == parts);
    CHECK(blocks->blocks.empty());
    CHECK(ok(store.stats()).hits == 0);  // its gets are no session's
  }
  const struct {
    Manner manner;
    const char* word;
  } kWrong[] = {{Manner::kForgets, "reordered: block 0 of many is lost (and 99 more)"},
                {Manner::kFlipBits, "corrupt: a block of 64 bytes comes back with other bytes"},
                {Manner::kThrow, "lost: refuses work: map: begin_put threw: the rack has no power"},
                {Manner::kFull, "lost: refuses work: map: begin_put returned V4I_E_NO_MEMORY"},
                {Manner::kLargeGet, "lost: a get that fails writes into the buffer"},
                {Manner::kNeverReports, "late: ticket"}};
  for (const auto& wrong : kWrong) {
    KvStore store = host.wrap(std::make_shared<MapBlocks>(), wrong.manner);
    const std::string report = ok(store.selftest(1));
    CAPTURE(wrong.word, report);
    CHECK(report.find(wrong.word) != std::string::npos);
    if (wrong.manner == Manner::kNeverReports) continue;
    CHECK(report.find("the store") == std::string::npos);
  }
}

TEST_CASE("a store that holds more than it says fails the self-test's full") {
  Host host;
  auto mine = std::make_unique<MapStore>(std::make_shared<MapBlocks>());
  mine->capacity = 1 << 16;  // which it does not keep to
  KvStore store = ok(KvStore::wrap(host.engine, std::move(mine)));
  const std::string report = ok(store.selftest(1));
  CHECK(report.find("full: 48 blocks lie in a store of 16") != std::string::npos);
}

TEST_CASE("stores that cannot be made are refused with what is missing") {
  Host host;
  v4i_kv_store* out = nullptr;
  const auto wrap = [&](v4i_status want, const char* word, const v4i_kv_vtable& t) {
    refused(want, word, [&](v4i_error** err) {
      return v4i_kv_store_wrap(host.engine.get(), &t, nullptr, &out, err);
    });
  };
  auto t = v4infer::init<v4i_kv_vtable>();
  wrap(V4I_E_INVALID, "begin_put is NULL", t);
  t.flags = 1;
  wrap(V4I_E_UNSUPPORTED, "flags", t);
  t = v4infer::init<v4i_kv_vtable>();
  t.struct_size = 4;
  wrap(V4I_E_ABI, "v4i_kv_vtable", t);

  const auto disk = [&](v4i_status want, const char* word, const v4i_kv_disk_options& o) {
    refused(want, word, [&](v4i_error** err) {
      return v4i_kv_store_open_disk(host.engine.get(), &o, &out, err);
    });
  };
  auto d = v4infer::init<v4i_kv_disk_options>();
  disk(V4I_E_INVALID, "folder is NULL", d);
  d.folder = "";
  disk(V4I_E_INVALID, "folder is empty", d);
  d.compression = 1;
  disk(V4I_E_UNSUPPORTED, "no fast compressor makes smaller", d);
  d.compression = 2;
  disk(V4I_E_INVALID, "compression is 2, allowed is 0 to 1", d);
  d.compression = 0;
  d.read_only = 2;
  disk(V4I_E_INVALID, "read_only", d);
  CHECK(out == nullptr);
  refused(V4I_E_INVALID, "KV store is NULL",
          [](v4i_error** err) { return v4i_kv_store_get_stats(nullptr, nullptr, err); });
  refused(V4I_E_INVALID, "KV store is NULL",
          [](v4i_error** err) { return v4i_kv_store_selftest(nullptr, 0, nullptr, err); });
}
