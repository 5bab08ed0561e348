// Image files against Pillow's pixels, and what is refused.
#include <atomic>
#include <set>
#include <thread>

#include "lib/base/error.h"
#include "lib/media/image_files.h"
#include "tests/media/draw.h"
#include "tests/media/file_list.h"
#include "tests/media/raw_codecs.h"
#include "tests/media/segments.h"
#include "tests/support/catch.h"
#include "tests/support/png_file.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::media;

namespace {

std::span<const std::uint8_t> span_of(const std::string& s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

ImageFiles& files() {
  static ImageFiles files(V4I_IMAGES_PLUGIN);
  return files;
}

DecodedImage decode(const std::string& file, Budget& budget) {
  return files().decode(span_of(file), files().probe(span_of(file), budget), budget);
}

// "(code) sentence", or "accepted".
std::string refusal(const std::string& file) {
  Budget budget;
  const auto run = [&] { decode(file, budget); };
  const std::string text = test::refusal(run);
  const Code code = test::refusal_code(run);
  CHECK(budget.used() == 0);
  return (code == Code::kFormat        ? "(format) "
          : code == Code::kUnsupported ? "(unsupported) "
          : code == Code::kOk          ? ""
                                       : "(other) ") +
         text;
}

bool has(std::uint32_t format) { return (files().formats() & format) != 0; }

}  // namespace

TEST_CASE("every kind of PNG, JPEG and WebP comes out as Pillow reads it", "[media][files]") {
  CHECK(files().formats() == V4I_IMAGES_FORMATS);
  Budget budget;
  int seen = 0;
  for (const ListedFile& f : listed_files()) {
    CAPTURE(f.name);
    if (!has(f.format)) {
      CHECK(refusal(f.bytes).find("was built without its codec") != std::string::npos);
      continue;
    }
    const DecodedImage image = decode(f.bytes, budget);
    CHECK(image.width == f.width);
    CHECK(image.height == f.height);
    CHECK(sha256_of(image.rgb.data(), image.rgb.size()) == f.sha256);
    ++seen;
  }
  CHECK(listed_files().size() >= 70);
  CHECK((seen >= 70 || V4I_IMAGES_FORMATS != 7));
  CHECK(budget.used() == 0);
}

TEST_CASE("a file that is cut off is refused at every length", "[media][files]") {
  for (const char* name : {"png-rgb8-adam7.png", "png-palette4.png", "jpg-420.jpg",
                           "jpg-gray-progressive.jpg", "webp-lossy.webp", "webp-animated.webp"}) {
    const ListedFile& f = listed_file(name);
    if (!has(f.format)) continue;
    for (std::size_t n = 0; n < f.bytes.size(); n += 1 + n / 40) {
      CAPTURE(name, n);
      CHECK(refusal(f.bytes.substr(0, n)).rfind("(format) ", 0) == 0);
    }
    CHECK(refusal(f.bytes.substr(0, f.bytes.size() - 1)).rfind("(format) ", 0) == 0);
  }
}

TEST_CASE("what is no image, or of a format that is not decoded, is named", "[media][files]") {
  CHECK(refusal("") == "(format) image file: it is empty");
  CHECK(refusal("<html>") ==
        "(format) image file: its 6 bytes begin with 3c 68 74 6d 6c 3e; PNG, JPEG and WebP are "
        "decoded");
  CHECK(refusal("GIF89a.....") ==
        "(unsupported) GIF image: it is not decoded; give PNG, JPEG or WebP");
  for (const auto& [format, bytes] : {std::pair{"BMP", std::string("BM000000000000")},
                                      {"TIFF", std::string("II*\0....", 8)},
                                      {"AVIF", std::string("\0\0\0\x20"
                                                           "ftypavif....",
                                                           16)},
                                      {"HEIF", std::string("\0\0\0\x20"
                                                           "ftypheic....",
                                                           16)},
                                      {"JPEG XL", std::string("\xff\x0a..")}})
    CHECK(refusal(bytes) == fmt::format("(unsupported) {} image: it is not decoded; give PNG, JPEG "
                                        "or WebP",
                                        format));
  // By content: a wrong name is nothing that the library sees.
  CHECK(refusal("RIFF\x04\0\0\0WAVE").rfind("(format) image file: its", 0) == 0);
}

TEST_CASE("the sentence of a damaged file says its format and what is wrong", "[media][files]") {
  const auto check = [](const ListedFile& f, std::string bytes, const char* sentence) {
    CAPTURE(f.name);
    if (has(f.format)) CHECK(refusal(bytes) == sentence);
  };
  const ListedFile& png = listed_file("png-rgb8.png");
  std::string bytes = png.bytes;
  bytes[bytes.size() - 13] ^= 1;  // of the last checksum but one
  check(png, bytes, "(format) PNG image: IDAT: CRC error");
  bytes = png.bytes;
  bytes[19] ^= 1;  // of the width
  check(png, bytes, "(format) PNG image: IHDR: CRC error");
  check(png, test::empty_png(0, 7), "(format) PNG image: it has 0 x 7 pixels");
  check(png, test::empty_png(8, 7), "(format) PNG image: Not enough image data");
  check(png, png.bytes.substr(0, 60), "(format) PNG image: the file ends early");

  const ListedFile& jpeg = listed_file("jpg-444.jpg");
  check(jpeg, jpeg.bytes.substr(0, jpeg.bytes.size() / 2) + "\xff\xd9",
        "(format) JPEG image: the file ends early, or a part of it is missing");
  bytes = jpeg.bytes;
  const std::size_t frame = bytes.find("\xff\xc0");
  bytes[frame + 1] = '\xc3';
  check(jpeg, bytes, "(unsupported) JPEG image: Unsupported JPEG process: SOF type 0xc3");
  bytes[frame + 1] = '\xc9';
  check(jpeg, bytes, "(unsupported) JPEG image: it is arithmetic-coded, which is not decoded");
  bytes = jpeg.bytes;
  bytes[frame + 4] = 12;
  check(jpeg, bytes, "(unsupported) JPEG image: Unsupported JPEG data precision 12");

  const ListedFile& webp = listed_file("webp-lossy.webp");
  check(webp, webp.bytes.substr(0, webp.bytes.size() - 2),
        "(format) WebP image: the file ends early, or its chunks do not agree");
  bytes = webp.bytes;
  bytes.replace(30, 40, std::string(40, '\xff'));
  CHECK((!has(kWebp) || refusal(bytes).rfind("(format) WebP image: ", 0) == 0));
}

TEST_CASE("a JPEG of a hundred scans more is refused for that", "[media][files]") {
  if (!has(kJpeg)) return;
  std::vector<std::string> parts = parts_of(listed_file("jpg-gray-progressive.jpg").bytes);
  // The first scan of AC coefficients and its table, as if nothing was left to refine.
  std::size_t scan = 0, scans = 0;
  for (std::size_t i = 0; i < parts.size() && scans < 2; ++i)
    if (parts[i][1] == '\xda' && ++scans == 2) scan = i;
  REQUIRE(scans == 2);
  REQUIRE(parts[scan - 1][1] == '\xc4');
  std::string again = parts[scan];
  again[9] = 0;  // Ah, Al
  const auto with = [&](int times) {
    std::vector<std::string> all(parts.begin(), parts.end() - 1);
    for (int i = 0; i < times; ++i) {
      all.push_back(parts[scan - 1]);
      all.push_back(again);
    }
    all.push_back(parts.back());
    return joined(all);
  };
  CHECK(refusal(with(80)) == "accepted");
  CHECK(refusal(with(100)) == "(unsupported) JPEG image: it has more than 100 scans");
}

TEST_CASE("a header costs nothing, whatever size it claims", "[media][files]") {
  Budget budget(256u << 10);
  const auto probe = [&](const std::string& s) { return files().probe(span_of(s), budget); };
  if (has(kPng)) {
    const ImageHeader h = probe(test::empty_png(0x7fffffff, 0x7fffffff));
    CHECK(h.width == 0x7fffffff);
    CHECK(test::refusal_code([&] { plan_image(h.width, h.height, {}); }) == Code::kInvalid);
    const std::string wide = test::empty_png(60000, 60000);
    CHECK(test::refusal_code([&] { files().decode(span_of(wide), probe(wide), budget); }) ==
          Code::kNoMemory);
  }
  if (has(kJpeg)) {
    std::string jpeg = listed_file("jpg-420-progressive.jpg").bytes;
    jpeg.replace(jpeg.find("\xff\xc2") + 5, 4, "\xff\xdc\xff\xdc");
    CHECK(probe(jpeg).height == 0xffdc);
    CHECK(probe(jpeg).width == 0xffdc);
  }
  CHECK(budget.used() == 0);
  CHECK(budget.peak() <= 256u << 10);
}

TEST_CASE("a header that says something else than the probe said is refused", "[media][files]") {
  for (const char* name : {"png-rgb8.png", "jpg-444.jpg", "jpg-cmyk.jpg", "webp-lossy.webp"}) {
    const ListedFile& f = listed_file(name);
    if (!has(f.format)) continue;
    Budget budget;
    ImageHeader h = files().probe(span_of(f.bytes), budget);
    ++h.width;
    const auto run = [&] { files().decode(span_of(f.bytes), h, budget); };
    CAPTURE(name, test::refusal(run));
    CHECK(test::refusal_code(run) == Code::kFormat);
    h.width = 0;
    CHECK(test::refusal_code(run) == Code::kInvalid);
  }
}

TEST_CASE("threads decode at the same time, and open the plug-in once", "[media][files]") {
  ImageFiles fresh(V4I_IMAGES_PLUGIN);
  std::atomic<int> equal = 0, wanted = 0;
  const auto work = [&] {
    Budget budget;
    for (const ListedFile& f : listed_files()) {
      if (!has(f.format)) continue;
      ++wanted;
      const auto header = fresh.probe(span_of(f.bytes), budget);
      const DecodedImage image = fresh.decode(span_of(f.bytes), header, budget);
      equal += sha256_of(image.rgb.data(), image.rgb.size()) == f.sha256;
      const std::string half = f.bytes.substr(0, f.bytes.size() / 2);  // a jump on every thread
      test::refusal([&] { fresh.probe(span_of(half), budget); });
      test::refusal([&] { fresh.decode(span_of(half), header, budget); });
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(work);
  for (std::thread& t : threads) t.join();
  CHECK(equal == wanted);
}

TEST_CASE("memory of the codecs is the budget's, or there is a sentence", "[media][files]") {
  std::set<std::string> sentences;
  for (const ListedFile& f : listed_files()) {
    if (!has(f.format)) continue;
    CAPTURE(f.name);
    Budget roomy;
    decode(f.bytes, roomy);
    CHECK(roomy.peak() > static_cast<std::uint64_t>(3 * f.width * f.height));
    for (std::uint64_t i = 0; i < 12; ++i) {
      Budget tight(roomy.peak() * i / 12);
      const auto run = [&] { decode(f.bytes, tight); };
      CHECK(test::refusal_code(run) == Code::kNoMemory);
      CHECK(tight.used() == 0);
      CHECK(tight.peak() <= tight.cap());
      sentences.insert(test::refusal(run));
    }
  }
  for (const std::string& s : sentences) CHECK(s.find("image") != std::string::npos);
}

TEST_CASE("a codec's memory comes from the host and goes back to it", "[media][files]") {
  RawCodecs raw;
  for (const ListedFile& f : listed_files()) {
    if (!has(f.format)) continue;
    const auto header = raw.probe(f.bytes);
    REQUIRE(header.result == V4I_IMAGES_OK);
    CHECK(raw.bytes == 0);
    raw.peak = 0;
    REQUIRE(raw.decode(f.bytes, header.info, 0).result == V4I_IMAGES_OK);
    CHECK(raw.bytes == 0);
    CHECK(raw.peak > 1000);  // so it asked
  }
  // Coefficients of a progressive JPEG: two bytes each, of all components.
  if (has(kJpeg)) {
    const ListedFile& f = listed_file("jpg-420-progressive.jpg");
    std::string large = f.bytes;
    large.replace(large.find("\xff\xc2") + 5, 4, std::string("\x04\0\x04\0", 4));
    const auto header = raw.probe(large);
    REQUIRE(header.info.width == 1024);
    raw.peak = 0;
    raw.decode(large, header.info, 0);
    CHECK(raw.peak > 1024 * 1024 * 3);
    CHECK(raw.bytes == 0);
  }
}
