// DiskFolder; see disk_folder.h.
#include "lib/store/disk_folder.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/uninterrupted.h"
#include "lib/store/disk_sql.h"

namespace v4i::store {

namespace {

constexpr int kPatienceMs = 5;  // of a call, for another process that writes the index

std::string mark_of(const std::string& folder) { return join_path(folder, "damaged"); }

}  // namespace

DiskFolder::DiskFolder(const DiskOptions& options, Budget& budget, std::shared_ptr<DiskFiles> files)
    : options_(options), files_(std::move(files)) {
  if (options_.read_only) {
    open(budget);
    return;
  }
  make_folder(options_.folder);
  lock_.emplace(options_.folder);
  lock_->begin_opening();
  lock_->stay();
  try {
    if (file_exists(mark_of(options_.folder)))
      throw DamagedFile(Code::kFormat, "as a process has found");
    open(budget);
  } catch (const DamagedFile& e) {
    set_damaged_aside(e.text());
    open(budget);
  }
  lock_->end_opening();
}

void DiskFolder::open(Budget& budget) {
  index_ = std::make_unique<DiskIndex>(options_.folder, options_.read_only);
  segments_ =
      std::make_unique<DiskSegments>(options_.folder, options_.capacity, budget, *index_, *files_);
  if (!options_.read_only) try {
      segments_->clean();
    } catch (const Error& e) {
      if (e.code() != Code::kNoMemory) throw;  // the disk is full: what lies there can be read
    }
  index_->wait_for_others(kPatienceMs);
}

void DiskFolder::set_damaged_aside(const std::string& why) {
  const std::string path = index_path(options_.folder);
  if (!lock_->alone())
    fail(Code::kFormat,
         "{}: damaged ({}), and other processes have the folder open: end them, then open it again",
         path, why);
  segments_.reset();
  index_.reset();
  const std::string kept = join_path(options_.folder, "index.damaged");
  if (std::rename(path.c_str(), kept.c_str()) != 0 && errno != ENOENT)
    fail(Code::kIo, "{}: damaged ({}), and cannot be renamed: {}", path, why,
         std::generic_category().message(errno));
  for (const char* other : {"-wal", "-shm"}) std::remove((path + other).c_str());
  std::remove(mark_of(options_.folder).c_str());
}

void DiskFolder::mark_damaged() noexcept {
  if (!lock_) return;
  try {
    const std::string mark = mark_of(options_.folder);
    const int fd = uninterrupted(
        [&] { return ::open(mark.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); });
    if (fd >= 0) const Descriptor closed(fd);
  } catch (...) {
    // No memory for a name: somebody else will find the damage.
  }
}

}  // namespace v4i::store
