// ChainStore: several BlockStores, fast to slow, as one.
//
// A block is put into each; a put is reported when all have answered, as done when one has taken
// it.  A get asks the first and, as long as one does not give the block, the next.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::store {

class ChainStore final : public BlockStore {
 public:
  explicit ChainStore(std::vector<std::unique_ptr<BlockStore>> stores);

  void begin_put(const BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override;
  void begin_get(const BlockKey& key, std::span<std::byte> bytes, std::uint64_t ticket) override;
  std::size_t poll(std::span<Completion> out, std::uint64_t timeout_ns) override;
  bool contains(const BlockKey& key) override;
  bool reads_parts() const override;  // all of them do
  void begin_get_part(const BlockKey& key, std::uint64_t at, std::span<std::byte> bytes,
                      std::uint64_t ticket) override;
  void erase(const BlockKey& key) override;
  void erase_damaged(const BlockKey& key) override;
  std::uint64_t bytes_used() const override { return stats().bytes; }
  StoreStats stats() const override;  // added up

 private:
  struct Work {
    std::uint64_t ticket = 0;  // the caller's
    Completion result;         // of a put so far: the best; of a get: the last
    std::size_t open = 0;      // stores that have not answered a put
    bool get = false, part = false;
    BlockKey key;
    std::uint64_t at = 0;
    std::span<std::byte> bytes;
    std::size_t store = 0;  // that is asked
  };
  struct Tier {
    std::unique_ptr<BlockStore> store;
    std::size_t under_way = 0;
  };

  void get(Work work);
  bool ask(std::uint64_t id,
           Work& work);  // from work.store on, the first that begins; false when none does
  void poll_tier(Tier& tier, std::uint64_t timeout_ns);
  void finish(const Completion& c);

  std::vector<Tier> tiers_;
  std::unordered_map<std::uint64_t, Work> works_;  // by the ticket given to the stores
  std::uint64_t next_ = 1;
  std::deque<Completion> done_;
};

}  // namespace v4i::store
