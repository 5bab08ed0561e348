// Section 10 of v4infer.h: KV tiers below the host tier.  Not built yet: every
// function says so, and none makes a store.
#include "lib/capi/boundary.h"
#include "lib/capi/handles.h"

using namespace v4i;
using namespace v4i::capi;

namespace {

[[noreturn]] void no_tiers() {
  fail(Code::kUnsupported, "KV tiers below host memory are not part of this build");
}

}  // namespace

extern "C" {

v4i_status v4i_kv_store_open_disk(v4i_engine* e, const v4i_kv_disk_options* o, v4i_kv_store**,
                                  v4i_error** err) {
  return guard(err, [&] {
    engine_of(e);
    read_struct(o, "v4i_kv_disk_options");
    no_tiers();
  });
}

v4i_status v4i_kv_store_wrap(v4i_engine* e, const v4i_kv_vtable* t, void*, v4i_kv_store**,
                             v4i_error** err) {
  return guard(err, [&] {
    engine_of(e);
    read_struct(t, "v4i_kv_vtable");
    no_tiers();
  });
}

void v4i_kv_store_release(v4i_kv_store*) {}  // none exists

v4i_status v4i_kv_store_get_stats(const v4i_kv_store*, v4i_kv_stats*, v4i_error** err) {
  return guard(err, no_tiers);
}

v4i_status v4i_kv_store_selftest(v4i_kv_store*, uint64_t, v4i_buffer**, v4i_error** err) {
  return guard(err, no_tiers);
}

}  // extern "C"
