// Section 10 of v4infer.h: KV tiers below the host's memory.
#include "lib/capi/boundary.h"
#include "lib/capi/convert.h"
#include "lib/capi/handles.h"
#include "lib/capi/host_kv_store.h"
#include "lib/store/disk_store.h"
#include "lib/store/selftest.h"

namespace v4i::capi {
namespace {

v4i_kv_store& store_of(v4i_kv_store* k) {
  v4i_kv_store& store = not_null(k, "the KV store");
  check_callable(*store.engine);
  return store;
}

std::unique_ptr<v4i_kv_store> make_handle(std::shared_ptr<EngineState> engine,
                                          std::unique_ptr<store::BlockStore> below,
                                          std::uint64_t capacity, std::string folder = {}) {
  return std::make_unique<v4i_kv_store>(v4i_kv_store{
      std::move(engine), store::SharedStore::make(std::move(below)), capacity, std::move(folder)});
}

// v4i_engine_quiesce() finds the store here.
void add_host_store(EngineState& engine, const std::shared_ptr<store::SharedStore>& shared) {
  const std::scoped_lock lock(engine.stores_mutex);
  std::erase_if(engine.host_stores, [](const auto& s) { return s.expired(); });
  engine.host_stores.push_back(shared);
}

std::unique_ptr<v4i_kv_store> open_disk(v4i_engine* e, const v4i_kv_disk_options& o) {
  check_range(o.compression, 0, 1, "v4i_kv_disk_options.compression");
  check_range(o.read_only, 0, 1, "v4i_kv_disk_options.read_only");
  check_zero(o.reserved0, "v4i_kv_disk_options.reserved0");
  if (o.compression != 0)
    fail(Code::kUnsupported,
         "v4i_kv_disk_options.compression: KV rows are fp8 and fp4 codes, which no fast "
         "compressor makes smaller; leave it 0");
  store::DiskOptions options;
  options.folder = &not_null(o.folder, "v4i_kv_disk_options.folder");
  if (options.folder.empty()) fail(Code::kInvalid, "v4i_kv_disk_options.folder is empty");
  options.capacity = o.capacity_bytes;
  options.read_only = o.read_only == 1;
  EngineState& engine = *e->state;
  auto store = store::open_disk_store(options, engine.engine->budget(), engine.engine->reads());
  return make_handle(e->state, std::move(store), o.capacity_bytes,
                     options.read_only ? std::string() : options.folder);
}

v4i_kv_vtable read_vtable(const v4i_kv_vtable* given) {
  const v4i_kv_vtable t = read_struct(given, "v4i_kv_vtable");
  if (t.flags != 0)
    fail(Code::kUnsupported, "v4i_kv_vtable.flags are {:#x}, none is known", t.flags);
  const auto require = [](bool set, const char* name) {
    if (!set) fail(Code::kInvalid, "v4i_kv_vtable.{} is NULL", name);
  };
  require(t.begin_put != nullptr, "begin_put");
  require(t.begin_get != nullptr, "begin_get");
  require(t.poll != nullptr, "poll");
  require(t.contains != nullptr, "contains");
  require(t.erase != nullptr, "erase");
  return t;
}

v4i_kv_stats stats_of(store::SharedStore& shared) {
  const store::SharedStore::Counts counts = shared.counts();
  const store::StoreStats below = shared.stats();
  auto out = zeroed<v4i_kv_stats>();
  out.blocks = below.blocks;
  out.bytes = below.bytes;
  out.evictions = below.evictions;
  out.errors = below.errors + counts.damaged;
  out.hits = counts.hits;
  out.misses = counts.misses;
  out.read_bytes = counts.read_bytes;
  out.write_bytes = counts.write_bytes;
  out.read_ns = counts.read_ns;
  out.write_ns = counts.write_ns;
  return out;
}

std::string selftest_of(store::SharedStore& shared, std::uint64_t capacity, std::uint64_t seed) {
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 10, kMost = std::uint64_t{64} << 20;
  store::SelftestOptions options;
  options.seed = seed;
  options.alone = false;
  if (capacity >= kLeast && capacity <= kMost) options.capacity = capacity;
  const auto client = shared.client(store::SharedStore::For::kTest);
  auto result = store::selftest(*client, options);
  if (!result.in_use.empty())
    shared.keep(std::make_shared<const decltype(result.in_use)>(std::move(result.in_use)));
  std::string report;
  for (const std::string& sentence : result.failed) report += sentence + "\n";
  return report;
}

}  // namespace
}  // namespace v4i::capi

using namespace v4i;
using namespace v4i::capi;

extern "C" {

v4i_status v4i_kv_store_open_disk(v4i_engine* e, const v4i_kv_disk_options* o, v4i_kv_store** out,
                                  v4i_error** err) {
  return guard(err, [&] {
    engine_of(e);
    const auto options = read_struct(o, "v4i_kv_disk_options");
    v4i_kv_store*& to = not_null(out, "out");
    to = open_disk(e, options).release();
  });
}

v4i_status v4i_kv_store_wrap(v4i_engine* e, const v4i_kv_vtable* t, void* user, v4i_kv_store** out,
                             v4i_error** err) {
  return guard(err, [&] {
    EngineState& engine = engine_of(e);
    const v4i_kv_vtable table = read_vtable(t);
    v4i_kv_store*& to = not_null(out, "out");
    auto below = std::make_unique<HostKvStore>(e->state, table, user);
    HostKvStore& host = *below;
    auto handle = make_handle(e->state, std::move(below), table.capacity_bytes);
    add_host_store(engine, handle->shared);
    host.adopted();
    to = handle.release();
  });
}

void v4i_kv_store_release(v4i_kv_store* k) {
  if (k == nullptr || !k->engine->same_process()) return;
  const std::shared_ptr<EngineState> engine = k->engine;
  delete k;
  quiet([&] { engine->flush_log(); });
}

v4i_status v4i_kv_store_get_stats(const v4i_kv_store* k, v4i_kv_stats* out, v4i_error** err) {
  return guard(err, [&] {
    v4i_kv_store& store = store_of(const_cast<v4i_kv_store*>(k));
    checked_size(out, "v4i_kv_stats");
    write_struct(stats_of(*store.shared), out, "v4i_kv_stats");
    quiet([&] { store.engine->flush_log(); });
  });
}

v4i_status v4i_kv_store_selftest(v4i_kv_store* k, uint64_t seed, v4i_buffer** report,
                                 v4i_error** err) {
  return guard(err, [&] {
    v4i_kv_store& store = store_of(k);
    not_null(report, "report");
    const std::shared_ptr<store::SharedStore> shared = store.shared;  // the host may release it
    write_buffer(selftest_of(*shared, store.capacity, seed), report, "report");
  });
}

}  // extern "C"
