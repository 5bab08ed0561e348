// Reading files.txt; see file_list.h.
#include "tests/media/file_list.h"

#include <sstream>

#include "lib/media/image_files.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace v4i::media {

namespace {

std::string file_bytes(const std::string& name) {
  return test::read_file(V4I_SOURCE_DIR "/tests/media/files/" + name);
}

std::vector<ListedFile> read_list() {
  std::istringstream lines(file_bytes("files.txt"));
  std::vector<ListedFile> out;
  for (ListedFile f; lines >> f.name >> f.width >> f.height >> f.sha256;) {
    f.format = f.name[0] == 'p' ? kPng : f.name[0] == 'j' ? kJpeg : kWebp;
    f.bytes = file_bytes(f.name);
    out.push_back(f);
  }
  return out;
}

}  // namespace

const std::vector<ListedFile>& listed_files() {
  static const std::vector<ListedFile> files = read_list();
  return files;
}

const ListedFile& listed_file(const std::string& name) {
  for (const ListedFile& f : listed_files())
    if (f.name == name) return f;
  FAIL("there is no " << name);
  return listed_files()[0];
}

}  // namespace v4i::media
