// DiskGets: reads of blocks and parts that are under way, from their submission to the checked
// bytes in the caller's span.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>

#include "lib/base/budget.h"
#include "lib/store/disk_files.h"
#include "lib/store/disk_index.h"
#include "lib/store/read_queue.h"

namespace v4i::store {

// The checksum of page `page` of a block; only its own place in its own block has it.
std::uint32_t page_sum(const BlockKey& key, const BlockPlace& place, std::size_t page,
                       std::span<const std::byte> bytes);

class DiskGets {
 public:
  DiskGets(Budget& budget, std::shared_ptr<ReadQueue> reads)
      : budget_(budget), reads_(std::move(reads)) {}
  ~DiskGets();  // nobody reads into spans any more
  DiskGets(const DiskGets&) = delete;
  DiskGets& operator=(const DiskGets&) = delete;

  struct Get {
    BlockKey key;
    BlockPlace place;
    std::uint64_t at = 0;     // of the block
    std::span<std::byte> to;  // [at, at + to.size()) lies in the block, and is not empty
    std::uint64_t ticket = 0;
    std::shared_ptr<const ReadFile> file;
  };
  // Error(kNoMemory) when a part that is not whole pages, or not aligned, has no memory to be read
  // into.
  void begin(Get get);
  enum class Outcome { kGood, kDamaged, kError };
  // Takes one that is done, its bytes in the span if kGood; false when none is.
  bool take(Get* get, Outcome* outcome);
  bool empty() const { return under_way_.empty(); }
  ReadQueue& reads() { return *reads_; }

 private:
  struct Running {
    Get get;
    ReadRequest request;
    Buffer<std::byte> bounce;
  };
  std::byte* bounce(Running& r, std::size_t bytes);
  static bool intact(const Running& r);

  Budget& budget_;
  std::shared_ptr<ReadQueue> reads_;
  std::list<Running> under_way_, spare_;
};

}  // namespace v4i::store
