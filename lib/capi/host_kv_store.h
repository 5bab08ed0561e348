// HostKvStore: a BlockStore made of a host's functions (v4i_kv_vtable), with the contract enforced:
// what they throw, statuses that are none, more reports than there was room for, tickets that
// nobody has, and calls back into the library become errors that are counted, never a fault of
// ours.
//
// One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "include/v4infer/v4infer.h"
#include "lib/capi/handles.h"
#include "lib/store/block_store.h"

namespace v4i::capi {

class HostKvStore final : public store::BlockStore {
 public:
  HostKvStore(std::shared_ptr<EngineState> engine, const v4i_kv_vtable& table, void* user);
  ~HostKvStore() override;
  // The host has been told that its store was taken: its close() is called at the end, unless the
  // engine is quiesced by then.
  void adopted() { adopted_ = true; }

  void begin_put(const store::BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override;
  void begin_get(const store::BlockKey& key, std::span<std::byte> bytes,
                 std::uint64_t ticket) override;
  bool reads_parts() const override { return table_.begin_get_part != nullptr; }
  void begin_get_part(const store::BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                      std::uint64_t ticket) override;
  std::size_t poll(std::span<store::Completion> out, std::uint64_t timeout_ns) override;
  bool contains(const store::BlockKey& key) override;
  void erase(const store::BlockKey& key) override;
  std::uint64_t bytes_used() const override { return 0; }  // not known
  store::StoreStats stats() const override { return {0, 0, 0, errors_}; }

 private:
  struct Ticket {
    bool get = false;
    std::uint64_t bytes = 0;
  };
  // The status that `body`, a call of the host's `function`, returns; what it throws is an Error.
  template <class Body>
  v4i_status call(const char* function, Body&& body);
  template <class Body>
  void begin(const char* function, std::uint64_t ticket, const Ticket& t, Body&& body);
  store::Completion checked(const v4i_kv_done& done);
  void complain(std::string text);

  std::shared_ptr<EngineState> engine_;
  v4i_kv_vtable table_;
  std::string name_;
  void* user_;
  std::unordered_map<std::uint64_t, Ticket> tickets_;  // under way
  std::vector<v4i_kv_done> done_;
  std::uint64_t errors_ = 0;
  bool adopted_ = false;
};

}  // namespace v4i::capi
