// Files: read-only mappings and whole small files.  Paths are UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace v4i {

// A read-only mapping of a whole file.  The mapping stays valid when the file is
// renamed or deleted; a file truncated by another program while mapped is outside
// what a library can survive, so do not edit model files in place.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // Error(kIo) when it cannot be opened
  ~MappedFile();
  MappedFile(MappedFile&& o) noexcept;
  MappedFile& operator=(MappedFile&& o) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  // Hints to the kernel; never an error.  While `on`, a page fault reads one page and
  // nothing around it: for reading a few bytes in many places.  When off again, it reads
  // megabytes, into large pages where the file system has them: these spare whoever maps
  // the file next a fault per 64 KiB.
  void expect_random_access(bool on) const noexcept;
  // Starts reading these bytes of the file; returns at once.
  void prefetch(std::size_t begin, std::size_t bytes) const noexcept;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

bool file_exists(const std::string& path);  // a regular file
bool is_directory(const std::string& path);
std::string join_path(const std::string& folder, const std::string& name);

// The whole file as text.  Error(kIo) when unreadable, kFormat above `limit` bytes.
std::string read_text_file(const std::string& path, std::size_t limit);

}  // namespace v4i
