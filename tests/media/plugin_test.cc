// Where there is no plug-in of image files, or a wrong one, a sentence says so.
#include <filesystem>
#include <fstream>

#include "lib/base/error.h"
#include "lib/media/image_files.h"
#include "tests/support/catch.h"
#include "tests/support/child.h"
#include "tests/support/refusal.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using namespace v4i::media;
namespace fs = std::filesystem;

namespace {

std::string refusal_of(const std::string& plugin) {
  const auto run = [&] { ImageFiles(plugin).formats(); };
  CHECK(test::refusal_code(run) == Code::kUnsupported);
  return test::refusal(run);
}

}  // namespace

TEST_CASE("a wrong plug-in of image files is refused with a sentence", "[media][files]") {
  CHECK(refusal_of("/nowhere/x.so") == "image files: there is no /nowhere/x.so");
  CHECK(refusal_of(V4I_IMAGES_OTHER) == "image files: " V4I_IMAGES_OTHER
                                        " is of another version of libv4infer (its table has "
                                        "version 99, wanted 1); install the two together");
  CHECK(refusal_of(V4I_IMAGES_NO_TABLE) == "image files: " V4I_IMAGES_NO_TABLE
                                           " is not the plug-in of libv4infer: it has no "
                                           "v4i_images_plugin");
  const test::TempDir dir;
  std::ofstream(dir.file("text.so")) << "text";
  CHECK(refusal_of(dir.file("text.so")).find("text.so cannot be loaded: ") != std::string::npos);
}

TEST_CASE("without a plug-in the sentence says where it was looked for and what to install",
          "[media][files]") {
  const test::TempDir dir;
  const std::string alone = dir.file("alone");
  fs::copy_file(fs::read_symlink("/proc/self/exe"), alone);
  const int status = std::system((alone + " '[alone]' >" + dir.file("out") + " 2>&1").c_str());
  INFO(test::read_file(dir.file("out")));
  CHECK(status == 0);
}

// Run by the test above, in a folder that has no plug-in.
TEST_CASE("this program is not beside a plug-in", "[.][alone]") {
  std::string text = "installed on this system";
  try {
    ImageFiles().formats();
  } catch (const Error& e) {
    text = e.text();
    CHECK(e.code() == Code::kUnsupported);
    CHECK(text.rfind("image files: libv4infer-images.so is not installed (looked at /", 0) == 0);
    CHECK(text.find("/libv4infer-images.so, and: ") != std::string::npos);
    CHECK(text.find("; install it beside libv4infer.so.1 (it is built where libpng-dev, "
                    "libjpeg-dev and libwebp-dev are), or give pixels") != std::string::npos);
  }
}
