// DiskFiles through POSIX calls; see disk_files.h.
#include "lib/store/disk_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <random>
#include <system_error>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/uninterrupted.h"

namespace v4i::store {

namespace {

std::string reason(int number) { return std::generic_category().message(number); }

constexpr char kPrefix[] = "seg-", kSuffix[] = ".v4i";

// "seg-<16 hex digits>.v4i"
bool parse_name(const std::string& file, std::uint64_t* name) {
  if (file.size() != 24 || !file.starts_with(kPrefix) || !file.ends_with(kSuffix)) return false;
  const std::string digits = file.substr(4, 16);
  if (digits.find_first_not_of("0123456789abcdef") != std::string::npos) return false;
  *name = std::stoull(digits, nullptr, 16);
  return true;
}

constexpr std::uint64_t kWriteBack = std::uint64_t{8} << 20;

// Written bytes go to the disk early and leave the page cache, where nobody reads them again.
// Neither waits for the disk.
void write_back([[maybe_unused]] int fd, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t now = end / kWriteBack, before = begin / kWriteBack;
  if (now == before) return;
#ifdef SYNC_FILE_RANGE_WRITE
  const auto at = [](std::uint64_t part) { return static_cast<off_t>(part * kWriteBack); };
  const auto bytes = static_cast<off_t>(kWriteBack);
  ::sync_file_range(fd, at(now - 1), bytes, SYNC_FILE_RANGE_WRITE);
  if (now >= 2) ::posix_fadvise(fd, at(now - 2), bytes, POSIX_FADV_DONTNEED);
#endif
}

}  // namespace

int DiskFiles::create(const std::string& path) {
  const int fd = uninterrupted([&] {
    return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  });
  if (fd < 0) return -errno;
  // Whoever opens the folder may have found a file without a lock and removed it.
  struct stat st;
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 || ::fstat(fd, &st) != 0 || st.st_nlink == 0) {
    ::unlink(path.c_str());
    ::close(fd);
    return -EBUSY;
  }
  return fd;
}

int DiskFiles::open_to_read(const std::string& path, bool direct) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
  int fd = uninterrupted([&] { return ::open(path.c_str(), direct ? kFlags | O_DIRECT : kFlags); });
  if (fd < 0 && direct && errno == EINVAL)
    fd = uninterrupted([&] { return ::open(path.c_str(), kFlags); });
  return fd < 0 ? -errno : fd;
}

int DiskFiles::write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  static constexpr std::byte kZeros[kDiskPage] = {};
  const std::size_t all = (bytes.size() + kDiskPage - 1) / kDiskPage * kDiskPage;
  for (std::size_t done = 0; done < all;) {
    const std::size_t own = std::min(done, bytes.size());
    const iovec parts[2] = {{const_cast<std::byte*>(bytes.data()) + own, bytes.size() - own},
                            {const_cast<std::byte*>(kZeros), all - std::max(done, bytes.size())}};
    const ssize_t n = ::pwritev(fd, parts, 2, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) return -EIO;
    done += static_cast<std::size_t>(n);
  }
  write_back(fd, offset, offset + all);
  return 0;
}

int DiskFiles::remove(const std::string& path) {
  const int fd =
      uninterrupted([&] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW); });
  if (fd < 0) return -errno;
  int result = 0;
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
    result = -EBUSY;
  else if (uninterrupted([&] { return ::ftruncate(fd, 0); }) != 0 || ::unlink(path.c_str()) != 0)
    result = -errno;
  ::close(fd);
  return result;
}

bool DiskFiles::is_written(const std::string& path) {
  const int fd =
      uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW); });
  if (fd < 0) return false;
  const bool written = ::flock(fd, LOCK_SH | LOCK_NB) != 0;
  ::close(fd);
  return written;
}

Descriptor::~Descriptor() { ::close(fd_); }

std::string segment_path(const std::string& folder, std::uint64_t name) {
  return join_path(folder, fmt::format("{}{:016x}{}", kPrefix, name, kSuffix));
}

std::vector<std::uint64_t> list_segments(const std::string& folder) {
  std::vector<std::uint64_t> names;
  DIR* dir = ::opendir(folder.c_str());
  if (dir == nullptr) return names;
  std::uint64_t name;
  while (const dirent* entry = ::readdir(dir))
    if (parse_name(entry->d_name, &name)) names.push_back(name);
  ::closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

std::uint64_t random_name() {
  std::random_device random;
  return std::uint64_t{random()} << 32 | random();
}

void make_folder(const std::string& folder) {
  const std::size_t end = folder.find_last_not_of('/');
  const std::size_t slash = end == std::string::npos ? end : folder.rfind('/', end);
  const bool nested = slash != std::string::npos && slash > 0;
  if (nested && !is_directory(folder.substr(0, slash))) make_folder(folder.substr(0, slash));
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    fail(Code::kIo, "{}: cannot make the folder of a disk tier: {}", folder, reason(errno));
  if (!is_directory(folder))
    fail(Code::kIo, "{}: not a folder, as that of a disk tier must be", folder);
}

FolderLock::FolderLock(const std::string& folder) : path_(join_path(folder, "lock")) {
  fd_ = uninterrupted(
      [&] { return ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); });
  if (fd_ < 0) fail(Code::kIo, "{}: cannot open the lock of a disk tier: {}", path_, reason(errno));
}

FolderLock::~FolderLock() { ::close(fd_); }

// Locks of the open file, not of the process: two stores of one process see each other too.
bool FolderLock::lock(int byte, int type) noexcept {
  struct flock range {};
  range.l_type = static_cast<short>(type);
  range.l_whence = SEEK_SET;
  range.l_start = byte;
  range.l_len = 1;
  return ::fcntl(fd_, F_OFD_SETLK, &range) == 0;
}

void FolderLock::begin_opening() {
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!lock(0, F_WRLCK)) {
    if (errno != EAGAIN && errno != EACCES)
      fail(Code::kIo, "{}: cannot be locked: {}", path_, reason(errno));
    if (std::chrono::steady_clock::now() > patience)
      fail(Code::kBusy, "{}: another process has been opening the folder for ten seconds", path_);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

void FolderLock::end_opening() noexcept { lock(0, F_UNLCK); }

bool FolderLock::alone() noexcept {
  const bool alone = lock(1, F_WRLCK);
  if (alone) stay();
  return alone;
}

void FolderLock::stay() { lock(1, F_RDLCK); }

}  // namespace v4i::store
