// ScratchFolder; see scratch_folder.h.
#include "tests/support/scratch_folder.h"

#include <filesystem>
#include <fstream>

#include "lib/base/error.h"

namespace v4i::test {

ScratchFolder::ScratchFolder()
    : path_((std::filesystem::temp_directory_path() / "v4i-test-XXXXXX").string()) {
  if (::mkdtemp(path_.data()) == nullptr) fail(Code::kIo, "{}: cannot make a folder", path_);
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) fail(Code::kIo, "{}: cannot write", path);
}

}  // namespace v4i::test
