// The files of tests/media/files, and what Pillow sees in them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace v4i::media {

struct ListedFile {
  std::string name, sha256, bytes;
  std::int64_t width = 0, height = 0;
  std::uint32_t format = 0;  // a bit of ImageFormats
};

// All of them, also those of formats that this build has no codec for.
const std::vector<ListedFile>& listed_files();
const ListedFile& listed_file(const std::string& name);

}  // namespace v4i::media
