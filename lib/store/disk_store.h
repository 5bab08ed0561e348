// DiskStore: a BlockStore in a folder, which several processes may use at the same time and which
// outlives them.
//
//   index.db  where each block lies (disk_index.h)          lock  who has the folder open
//   seg-*     blocks, one behind the other, each from a multiple of 4096 on (disk_segments.h)
//
// A put is written when begin_put() returns and reported when the index has it: from then on it is
// there for this and other processes, whatever happens to this one.  After a power failure a block
// is whole or not there; puts of the last seconds may be missing.  Every page of 4096 bytes has a
// checksum in the index, which holds for whole blocks and for parts: damage is a miss, is counted,
// and the block is forgotten.
//
// Reads go past the page cache where the file system can (O_DIRECT), straight into spans whose
// address is a multiple of 4096, for a block or part that is whole pages; others by a buffer of the
// Budget.  Bytes of segment files are counted as Place::kDisk.
//
// Whoever opens a folder whose index is damaged begins it anew, if no other process has it open:
// blocks cost time, nothing else is lost.  The damaged file is kept as index.damaged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lib/base/budget.h"
#include "lib/store/block_store.h"
#include "lib/store/read_queue.h"

namespace v4i::store {

class DiskFiles;

struct DiskOptions {
  std::string folder;          // made when it is not there
  std::uint64_t capacity = 0;  // bytes of segment files; 0 = until the disk is full
  bool read_only = false;      // puts are refused (kUnsupported), no file is changed
};

// Error(kUnsupported) where the build has no disk tier, kIo naming the folder, kFormat for a folder
// of another version or a damaged index that others use, kBusy while another process opens it.
std::unique_ptr<BlockStore> open_disk_store(const DiskOptions& options, Budget& budget,
                                            std::shared_ptr<ReadQueue> reads);
// For tests, with files that fail.
std::unique_ptr<BlockStore> open_disk_store(const DiskOptions& options, Budget& budget,
                                            std::shared_ptr<ReadQueue> reads,
                                            std::shared_ptr<DiskFiles> files);

}  // namespace v4i::store
