// ScratchFolder: an empty folder that is deleted, with all in it, when it goes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace v4i::test {

class ScratchFolder {
 public:
  ScratchFolder();  // in TMPDIR, or in /tmp
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::span<const std::byte> bytes);

}  // namespace v4i::test
