// DiskPuts: blocks on their way into the folder: written, and told to the index in batches.
//
// One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/store/disk_folder.h"
#include "lib/store/disk_known.h"

namespace v4i::store {

class DiskPuts {
 public:
  DiskPuts(DiskFolder& folder, DiskKnown& known) : folder_(folder), known_(known) {}

  // Into the current segment, as far as the page cache.  Error when it cannot.
  void write(const BlockKey& key, std::span<const std::byte> bytes, std::uint64_t ticket);
  // Tells the index of all that was written, and reports it; without `now` only when that is worth
  // it.  While another process writes the index nothing happens.  An Error goes to `failed`, which
  // says what is reported.
  void commit(bool now, const std::function<Code(const Error&)>& failed,
              const std::function<void(const Completion&)>& report);

  bool find(const BlockKey& key, BlockPlace* place) const;  // of those that were not told yet
  std::size_t size() const { return blocks_.size(); }
  bool empty() const { return blocks_.empty(); }

 private:
  DiskFolder& folder_;
  DiskKnown& known_;
  std::vector<NewBlock> blocks_;
  std::vector<std::uint64_t> tickets_;
  std::chrono::steady_clock::time_point since_{};
};

}  // namespace v4i::store
