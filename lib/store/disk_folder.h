// DiskFolder: an open folder of the disk tier: its lock, its index, its segments.
//
// Opening it takes away what the dead have left, and begins a damaged index anew.  One thread at a
// time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lib/base/budget.h"
#include "lib/store/disk_files.h"
#include "lib/store/disk_index.h"
#include "lib/store/disk_segments.h"
#include "lib/store/disk_store.h"

namespace v4i::store {

class DiskFolder {
 public:
  DiskFolder(const DiskOptions& options, Budget& budget, std::shared_ptr<DiskFiles> files);

  const DiskOptions& options() const { return options_; }
  DiskFiles& files() { return *files_; }
  DiskIndex& index() const { return *index_; }
  DiskSegments& segments() const { return *segments_; }
  void mark_damaged() noexcept;  // whoever opens the folder next begins its index anew

 private:
  void open(Budget& budget);
  void set_damaged_aside(const std::string& why);

  const DiskOptions options_;
  std::shared_ptr<DiskFiles> files_;
  std::optional<FolderLock> lock_;  // none to read only
  std::unique_ptr<DiskIndex> index_;
  std::unique_ptr<DiskSegments> segments_;
};

}  // namespace v4i::store
