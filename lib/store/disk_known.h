// DiskKnown: the part of the index that this process has met, in memory, so that a read costs no
// query.  At most a 64th of the Budget's host memory, and given back when that is short: what is
// not here is asked of the index.
//
// Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "lib/base/budget.h"
#include "lib/store/disk_index.h"

namespace v4i::store {

class DiskKnown final : public Reclaimer {
 public:
  explicit DiskKnown(Budget& budget);
  ~DiskKnown() override;
  DiskKnown(const DiskKnown&) = delete;
  DiskKnown& operator=(const DiskKnown&) = delete;

  bool find(const BlockKey& key, BlockPlace* place) const;
  void add(const BlockKey& key, const BlockPlace& place) noexcept;  // unless there is no room
  void erase(const BlockKey& key) noexcept;
  std::uint64_t bytes() const;

  std::uint64_t give_back(Place place, std::uint64_t bytes, std::uint64_t keep) noexcept override;

 private:
  struct Entry {
    std::int64_t segment = 0;
    std::uint32_t page = 0, bytes = 0;
    std::unique_ptr<std::uint32_t[]> sums;
  };
  using Table = std::unordered_map<BlockKey, Entry, BlockKeyHash>;
  static std::uint64_t cost(const Entry& e);
  void drop(Table::iterator it) noexcept;  // mutex_ is held

  Budget& budget_;
  mutable std::mutex mutex_;
  Table table_;
  std::uint64_t bytes_ = 0;
};

}  // namespace v4i::store
