// kv_store.hpp: KV stores of libv4infer, for C++17: those of the library, and your own.
//
//   class Mine : public v4infer::CustomKvStore { ... };   // the six functions below
//   auto store = v4infer::KvStore::wrap(engine, std::make_unique<Mine>());
//   std::cerr << *store->selftest(1);                      // empty when it is a proper store
//   v4i_kv_store* const tiers[] = {store->get()};
//   auto options = v4infer::init<v4i_session_options>();
//   options.tiers = tiers;
//   options.tier_count = 1;
//   auto session = v4infer::Session::create(model, options);
//
// Rules of ownership, errors and threads: context.hpp; what a store has to do: v4infer.h,
// section 10.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "context.hpp"

namespace v4infer {

// A store to derive from.  Its functions are called one at a time, by threads that are inside a
// v4i_ call, and may not call back into one.  Failures are statuses; what they throw is caught.
class CustomKvStore {
 public:
  virtual ~CustomKvStore() = default;  // close(): everything that was begun has been reported

  virtual v4i_status begin_put(const v4i_kv_key& key, const void* data, std::uint64_t bytes,
                               std::uint64_t ticket) = 0;
  virtual v4i_status begin_get(const v4i_kv_key& key, void* data, std::uint64_t bytes,
                               std::uint64_t ticket) = 0;
  // Writes at most `cap` entries of `done`, and how many into *count, which is 0 before.
  virtual v4i_status poll(v4i_kv_done* done, std::size_t cap, std::size_t* count,
                          std::uint64_t timeout_ns) = 0;
  virtual v4i_status contains(const v4i_kv_key& key, bool* yes) = 0;
  virtual v4i_status erase(const v4i_kv_key& key) = 0;

  virtual const char* name() const { return "custom KV store"; }
  virtual std::uint64_t capacity_bytes() const { return 0; }  // not known
  // Stores that can read a part of a block say true and implement begin_get_part().
  virtual bool reads_parts() const { return false; }
  virtual v4i_status begin_get_part(const v4i_kv_key& /*key*/, std::uint64_t /*at*/, void* /*data*/,
                                    std::uint64_t /*bytes*/, std::uint64_t /*ticket*/) {
    return V4I_E_UNSUPPORTED;
  }
};

class KvStore : public detail::Handle<v4i_kv_store, v4i_kv_store_release> {
 public:
  using Handle::Handle;

  static Result<KvStore> open_disk(const Engine& engine, const char* folder,
                                   v4i_kv_disk_options o = init<v4i_kv_disk_options>()) {
    o.folder = folder;
    return detail::make<KvStore, v4i_kv_store>([&](v4i_kv_store** out, v4i_error** err) {
      return v4i_kv_store_open_disk(engine.get(), &o, out, err);
    });
  }

  // Takes `store` over; it is deleted after its last call.
  static Result<KvStore> wrap(const Engine& engine, std::unique_ptr<CustomKvStore> store) {
    v4i_kv_vtable table = table_of(*store);
    Result<KvStore> made =
        detail::make<KvStore, v4i_kv_store>([&](v4i_kv_store** out, v4i_error** err) {
          return v4i_kv_store_wrap(engine.get(), &table, store.get(), out, err);
        });
    if (made) static_cast<void>(store.release());
    return made;
  }

  Result<v4i_kv_stats> stats() const {
    auto out = init<v4i_kv_stats>();
    Error e =
        detail::call([&](v4i_error** err) { return v4i_kv_store_get_stats(get(), &out, err); });
    if (e) return e;
    return out;
  }
  // A line for each broken promise; empty when the store passes.
  Result<std::string> selftest(std::uint64_t seed) {
    return detail::text([&](v4i_buffer** b, v4i_error** err) {
      return v4i_kv_store_selftest(get(), seed, b, err);
    });
  }

 private:
  static CustomKvStore& self(void* user) { return *static_cast<CustomKvStore*>(user); }

  static v4i_kv_vtable table_of(const CustomKvStore& store) {
    auto t = init<v4i_kv_vtable>();
    t.name = store.name();
    t.capacity_bytes = store.capacity_bytes();
    t.begin_put = [](const v4i_kv_key* k, const void* data, std::uint64_t bytes,
                     std::uint64_t ticket,
                     void* user) { return self(user).begin_put(*k, data, bytes, ticket); };
    t.begin_get = [](const v4i_kv_key* k, void* data, std::uint64_t bytes, std::uint64_t ticket,
                     void* user) { return self(user).begin_get(*k, data, bytes, ticket); };
    t.poll = [](v4i_kv_done* done, std::size_t cap, std::size_t* count, std::uint64_t timeout_ns,
                void* user) { return self(user).poll(done, cap, count, timeout_ns); };
    t.contains = [](const v4i_kv_key* k, std::int32_t* yes, void* user) -> v4i_status {
      bool found = false;
      const v4i_status s = self(user).contains(*k, &found);
      *yes = found ? 1 : 0;
      return s;
    };
    t.erase = [](const v4i_kv_key* k, void* user) { return self(user).erase(*k); };
    t.close = [](void* user) { delete static_cast<CustomKvStore*>(user); };
    if (store.reads_parts())
      t.begin_get_part = [](const v4i_kv_key* k, std::uint64_t at, void* data, std::uint64_t bytes,
                            std::uint64_t ticket, void* user) {
        return self(user).begin_get_part(*k, at, data, bytes, ticket);
      };
    return t;
  }
};

}  // namespace v4infer
