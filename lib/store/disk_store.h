// DiskStore: a BlockStore in a folder, which several processes may use at the same time and which
// outlives them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lib/base/budget.h"
#include "lib/store/block_store.h"
#include "lib/store/read_queue.h"

namespace v4i::store {

struct DiskOptions {
  std::string folder;          // made when it is not there
  std::uint64_t capacity = 0;  // bytes of segment files; 0 = until the disk is full
  bool read_only = false;
};

// Error(kUnsupported) where the build has no disk tier, kIo naming the folder, kFormat for a folder
// of another version.
std::unique_ptr<BlockStore> open_disk_store(const DiskOptions& options, Budget& budget,
                                            std::shared_ptr<ReadQueue> reads);

}  // namespace v4i::store
