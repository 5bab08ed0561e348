// A thousand damaged image files: each is a picture, every byte of it written, or a sentence.  Run
// it under ASan and UBSan as well; V4I_TEST_DAMAGE says how many.
#include <cstdlib>
#include <iostream>

#include "lib/base/error.h"
#include "lib/media/image_files.h"
#include "lib/media/image_plan.h"
#include "tests/media/file_list.h"
#include "tests/media/image_damage.h"
#include "tests/media/raw_codecs.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::media;

namespace {

int wanted() {
  const char* n = std::getenv("V4I_TEST_DAMAGE");
  return n == nullptr ? 1000 : std::atoi(n);
}

// As a session does it: the header, whether a model takes that size, the pixels.
bool decodes(ImageFiles& files, const std::string& file) {
  Budget budget(std::uint64_t{64} << 20);
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(file.data()),
                                            file.size());
  try {
    const ImageHeader header = files.probe(bytes, budget);
    plan_image(header.width, header.height, {});
    const DecodedImage image = files.decode(bytes, header, budget);
    REQUIRE(image.width == header.width);
    REQUIRE(image.rgb.size() == static_cast<std::size_t>(3 * header.width * header.height));
    return true;
  } catch (const Error& e) {
    CAPTURE(e.text());
    CHECK(e.code() != Code::kInternal);
    CHECK(e.text().size() > 20);
    CHECK(e.text().find("mage") != std::string::npos);
    CHECK(e.text().find_first_of("\n\r\t") == std::string::npos);
    CHECK(budget.used() == 0);
    return false;
  }
}

// With other bytes in memory before, it is the same picture.
void check_whole(RawCodecs& raw, const std::string& file) {
  const auto header = raw.probe(file);
  REQUIRE(header.result == V4I_IMAGES_OK);
  const auto zeros = raw.decode(file, header.info, 0), ones = raw.decode(file, header.info, 255);
  CHECK(zeros.result == V4I_IMAGES_OK);
  CHECK(zeros.rgb == ones.rgb);
  CHECK(raw.bytes == 0);
}

}  // namespace

TEST_CASE("a thousand damaged image files are pictures or sentences", "[media][files][fuzz]") {
  ImageFiles files(V4I_IMAGES_PLUGIN);
  RawCodecs raw;
  raw.most_bytes = std::size_t{64} << 20;
  int pictures[5] = {}, refused[5] = {};
  for (int seed = 0; seed < wanted(); ++seed) {
    const ListedFile& whole =
        listed_files()[static_cast<std::size_t>(seed) % listed_files().size()];
    if ((files.formats() & whole.format) == 0) continue;
    CAPTURE(seed, whole.name);
    const std::string file = damaged(whole.bytes, static_cast<std::uint64_t>(seed));
    if (decodes(files, file)) {
      ++pictures[whole.format];
      check_whole(raw, file);
    } else {
      ++refused[whole.format];
    }
  }
  for (const std::uint32_t f : {kPng, kJpeg, kWebp}) {
    if ((files.formats() & f) == 0) continue;
    std::cout << (f == kPng    ? "PNG"
                  : f == kJpeg ? "JPEG"
                               : "WebP")
              << ": " << pictures[f] << " pictures, " << refused[f] << " refused\n";
    CHECK(refused[f] > wanted() / 20);
    CHECK(pictures[f] > wanted() / 100);
  }
}
