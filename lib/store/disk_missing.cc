// What there is instead of a disk tier in a build without SQLite.
#include "lib/base/error.h"
#include "lib/store/disk_store.h"

namespace v4i::store {

std::unique_ptr<BlockStore> open_disk_store(const DiskOptions& options, Budget&,
                                            std::shared_ptr<ReadQueue>,
                                            std::shared_ptr<DiskFiles>) {
  fail(Code::kUnsupported, "{}: this build has no disk tier: SQLite was not there when it was made",
       options.folder);
}

std::unique_ptr<BlockStore> open_disk_store(const DiskOptions& options, Budget& budget,
                                            std::shared_ptr<ReadQueue> reads) {
  return open_disk_store(options, budget, std::move(reads), nullptr);
}

}  // namespace v4i::store
