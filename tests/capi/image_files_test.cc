// V4I_PIXELS_ENCODED: image files through the C interface.
#include <cstring>
#include <vector>

#include "tests/capi/fixture.h"
#include "tests/support/png_file.h"
#include "tests/support/tiny_model.h"

using namespace v4i::test;

namespace {

const v4infer::Model& v41() {
  static const v4infer::Model model = ok(v4infer::Model::open(engine(), make_tiny_v41(0).c_str()));
  return model;
}

v4i_image encoded(const std::string& file) {
  auto i = v4infer::init<v4i_image>();
  i.format = V4I_PIXELS_ENCODED;
  i.data = file.data();
  i.data_bytes = file.size();
  return i;
}

}  // namespace

#if defined(V4I_IMAGES_FORMATS)

namespace {

constexpr std::uint32_t kWidth = 50, kHeight = 61;

v4infer::Session session() { return ok(v4infer::Session::create(v41())); }

std::vector<std::uint8_t> noise(std::size_t n) {
  std::vector<std::uint8_t> out(n);
  std::uint32_t x = 7;
  for (auto& v : out) v = static_cast<std::uint8_t>((x = x * 1664525u + 1013904223u) >> 24);
  return out;
}

std::vector<float> logits_after(const v4i_image& image) {
  auto s = session();
  ok(s.append(some_tokens(3)));
  v4i_error* err = nullptr;
  const v4i_status status = v4i_session_append_image(s.get(), &image, &err);
  INFO(v4i_error_message(err));
  REQUIRE(status == V4I_OK);
  ok(s.append(some_tokens(2)));
  ok(s.prefill());
  const float* out = nullptr;
  std::size_t count = 0;
  REQUIRE(v4i_session_logits(s.get(), &out, &count, nullptr) == V4I_OK);
  return {out, out + count};
}

std::uint64_t host_used() {
  const v4i_memory_stats m = ok(engine().memory());
  return m.host_weights + m.host_kv + m.host_scratch;
}

void refuse(const v4i_image& image, v4i_status want, const char* word) {
  auto s = session();
  const std::uint64_t before = host_used();
  refused(want, word,
          [&](v4i_error** err) { return v4i_session_append_image(s.get(), &image, err); });
  CHECK(host_used() == before);
  CHECK(ok(s.info()).pending == 0);
}

}  // namespace

TEST_CASE("a PNG file and its pixels give the same logits, bit for bit") {
  if ((V4I_IMAGES_FORMATS & V4I_IMAGE_PNG) == 0) return;
  const auto rgb = noise(3 * kWidth * kHeight);
  auto pixels = v4infer::init<v4i_image>();
  pixels.format = V4I_PIXELS_RGB8;
  pixels.width = kWidth;
  pixels.height = kHeight;
  pixels.data = rgb.data();
  pixels.data_bytes = rgb.size();
  const auto want = logits_after(pixels);
  const std::string png = png_of(rgb.data(), kWidth, kHeight);
  auto file = encoded(png);
  CHECK(logits_after(file) == want);
  file.width = kWidth;  // said beforehand
  file.height = kHeight;
  CHECK(logits_after(file) == want);
  auto other = rgb;
  other[0] ^= 64;
  const std::string png2 = png_of(other.data(), kWidth, kHeight);
  CHECK(logits_after(encoded(png2)) != want);
}

TEST_CASE("JPEG and WebP files are taken") {
  for (const auto& [bit, name] : {std::pair{V4I_IMAGE_JPEG, "jpg-420.jpg"},
                                  {V4I_IMAGE_JPEG, "jpg-cmyk.jpg"},
                                  {V4I_IMAGE_WEBP, "webp-lossy-alpha.webp"},
                                  {V4I_IMAGE_WEBP, "webp-animated.webp"}}) {
    const std::string file = read_file(std::string(V4I_SOURCE_DIR "/tests/media/files/") + name);
    if ((V4I_IMAGES_FORMATS & bit) != 0) CHECK(logits_after(encoded(file)).size() > 100);
  }
}

TEST_CASE("the engine says which image files are decoded") {
  CHECK(ok(engine().image_formats()) == V4I_IMAGES_FORMATS);
  refused(V4I_E_INVALID, "out",
          [&](v4i_error** err) { return v4i_engine_image_formats(engine().get(), nullptr, err); });
}

TEST_CASE("image files that cannot be taken are refused with a sentence, and cost nothing") {
  const auto rgb = noise(3 * kWidth * kHeight);
  const std::string png = png_of(rgb.data(), kWidth, kHeight), gif = "GIF89a....", text = "<html>";
  refuse(encoded(""), V4I_E_FORMAT, "it is empty");
  refuse(encoded(text), V4I_E_FORMAT, "begin with 3c 68 74 6d 6c 3e");
  refuse(encoded(gif), V4I_E_UNSUPPORTED, "GIF image: it is not decoded");
  auto i = encoded(png);
  i.data = nullptr;
  refuse(i, V4I_E_INVALID, "data is NULL");
  i = encoded(png);
  i.stride_bytes = 150;
  refuse(i, V4I_E_INVALID, "stride_bytes is 150, expected 0");
  if ((V4I_IMAGES_FORMATS & V4I_IMAGE_PNG) == 0) return;
  const std::string cut = png.substr(0, png.size() - 100), huge = empty_png(60000, 60000),
                    narrow = empty_png(1, 60000000), none = empty_png(100, 100);
  refuse(encoded(cut), V4I_E_FORMAT, "PNG image: the file ends early");
  refuse(encoded(none), V4I_E_FORMAT, "PNG image: Not enough image data");
  refuse(encoded(huge), V4I_E_INVALID, "60000 x 60000 pixels, expected at most");
  refuse(encoded(narrow), V4I_E_INVALID, "1 x 60000000");
  i = encoded(png);
  i.width = kWidth + 1;
  refuse(i, V4I_E_INVALID, "PNG image: it has 50 x 61 pixels, expected 51 x 0");
  i.width = kWidth;
  i.height = 1;
  refuse(i, V4I_E_INVALID, "expected 50 x 1");
  auto text_only = new_session();
  i = encoded(png);
  refused(V4I_E_UNSUPPORTED, "takes no images",
          [&](v4i_error** err) { return v4i_session_append_image(text_only.get(), &i, err); });
}

TEST_CASE("a picture for which the budget has no room is refused before it is decoded") {
  if ((V4I_IMAGES_FORMATS & V4I_IMAGE_PNG) == 0) return;
  v41();
  const std::string large = empty_png(3000, 2000);  // 18 MB of pixels
  auto budget = v4infer::init<v4i_memory_budget>();
  budget.host_bytes = host_used() + (std::uint64_t{12} << 20);
  REQUIRE(v4i_engine_set_budget(engine().get(), &budget, nullptr) == V4I_OK);
  refuse(encoded(large), V4I_E_NO_MEMORY, "the pixels of an image");
  budget.host_bytes = 0;
  REQUIRE(v4i_engine_set_budget(engine().get(), &budget, nullptr) == V4I_OK);
}

#else  // no codec was found where this was built

TEST_CASE("without the plug-in of image files a sentence says so") {
  const auto says = [](auto call) { refused(V4I_E_UNSUPPORTED, "libv4infer-images.so", call); };
  std::uint32_t formats = 0;
  says([&](v4i_error** err) { return v4i_engine_image_formats(engine().get(), &formats, err); });
  auto s = ok(v4infer::Session::create(v41()));
  const std::string png = empty_png(10, 10);
  const auto image = encoded(png);
  says([&](v4i_error** err) { return v4i_session_append_image(s.get(), &image, err); });
}

#endif
