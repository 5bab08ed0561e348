// DiskFiles: what the disk tier does with its segment files, and the lock of its folder.
//
// An interface so that tests can make the calls fail.  Results are negative errnos where something
// went wrong.  Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace v4i::store {

class DiskFiles {
 public:
  virtual ~DiskFiles() = default;
  // A new file of mode 0600, locked for as long as the descriptor is open: its writer lives.
  virtual int create(const std::string& path);
  // `direct`: past the page cache (O_DIRECT) where the file system can.
  virtual int open_to_read(const std::string& path, bool direct);
  // All of `bytes` at `offset`, zeros up to the next multiple of 4096 behind them.
  virtual int write(int fd, std::span<const std::byte> bytes, std::uint64_t offset);
  // Removes a file that nobody writes: its bytes are free at once, also where it is open.
  // -EBUSY when its writer lives.
  virtual int remove(const std::string& path);
  // Of a file that is there: does its writer live?
  virtual bool is_written(const std::string& path);
};

// What is written and read at once: of any disk a multiple of its sectors.
inline constexpr std::uint64_t kDiskPage = 4096;
inline constexpr std::uint64_t pages_of(std::uint64_t bytes) {  // an empty block has one too
  return bytes == 0 ? 1 : (bytes - 1) / kDiskPage + 1;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// A segment file to read from: whole pages into aligned memory, and anything.
struct ReadFile {
  ReadFile(int direct_fd, int cached_fd) : direct(direct_fd), cached(cached_fd) {}
  Descriptor direct, cached;
};

std::string segment_path(const std::string& folder, std::uint64_t name);
std::vector<std::uint64_t> list_segments(const std::string& folder);  // names, sorted
std::uint64_t random_name();
// Made with mode 0700 where it is not there, and those above it.  Error(kIo).
void make_folder(const std::string& folder);

// The lock file of a folder.  Everybody who may change something holds its second byte, shared,
// for as long as the store is open; opening holds the first one.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder);  // Error(kIo)
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  void begin_opening();  // Error(kBusy) when another process takes longer than ten seconds
  void end_opening() noexcept;
  bool alone() noexcept;  // nobody else has the folder open; while opening
  void stay();            // from here on others see that this process has it open

 private:
  bool lock(int byte, int type) noexcept;
  std::string path_;
  int fd_ = -1;
};

}  // namespace v4i::store
