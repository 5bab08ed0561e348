// Pixels in their box and as patches, against Pillow's.
#include <sstream>
#include <vector>

#include "lib/base/error.h"
#include "lib/media/patches.h"
#include "tests/media/draw.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::media;

TEST_CASE("fifty images come out as Pillow makes them", "[media][pixels]") {
  std::istringstream lines(golden("images.txt"));
  std::string name, box_sha, patches_sha;
  std::int64_t width = 0, height = 0;
  int kind = 0, channels = 0;
  std::uint32_t i = 0;
  Budget budget;
  for (; lines >> name >> kind >> width >> height >> channels >> box_sha >> patches_sha; ++i) {
    CAPTURE(i, name, kind, width, height, channels);
    const DrawnImage image = draw(kind, width, height, channels, i, i % 4 == 3 ? 13 : 0);
    const ImagePlan plan = plan_by_name(name, width, height);
    const Buffer<std::uint8_t> box = fit_image(image.pixels, plan, budget);
    CHECK(sha256_of(box.data(), box.size()) == box_sha);
    const Buffer<float> patches = image_patches(image.pixels, plan, budget);
    CHECK(sha256_of(patches.data(), patches.bytes()) == patches_sha);
  }
  CHECK(i == 50);
  CHECK(budget.used() == 0);
}

TEST_CASE("an image that fits is copied, and gray surrounds one that does not", "[media][pixels]") {
  Budget budget;
  const DrawnImage same = draw(0, 546, 546, 4, 1);
  const ImagePlan plan = plan_image(546, 546, {});
  const Buffer<std::uint8_t> box = fit_image(same.pixels, plan, budget);
  std::int64_t differ = 0;
  for (std::size_t i = 0; i < 546 * 546; ++i)
    for (std::size_t c = 0; c < 3; ++c) differ += box[3 * i + c] != same.bytes[4 * i + c];
  CHECK(differ == 0);

  const DrawnImage wide = draw(2, 6000, 9, 3, 1);
  const ImagePlan flat = plan_image(6000, 9, {});
  REQUIRE(flat.fit_y > 0);
  const Buffer<std::uint8_t> gray = fit_image(wide.pixels, flat, budget);
  for (std::int64_t i = 0; i < 3 * flat.box_width * flat.fit_y; ++i)
    differ += gray[static_cast<std::size_t>(i)] != 127;
  CHECK(differ == 0);
}

TEST_CASE("pixels that are none are refused", "[media][pixels]") {
  Budget budget;
  const DrawnImage image = draw(0, 64, 48, 3, 1);
  const ImagePlan plan = plan_image(64, 48, {});
  const auto refusal = [&](auto change) {
    Pixels p = image.pixels;
    change(p);
    return test::refusal([&] { image_patches(p, plan, budget); });
  };
  CHECK(refusal([](Pixels& p) { p.data = nullptr; }) == "the pixels of an image are null");
  CHECK(refusal([](Pixels& p) { p.stride = 191; }) ==
        "the rows of an image are 191 bytes apart, expected at least 64 x 3");
  CHECK(refusal([](Pixels& p) { p.stride = -192; }).find("bytes apart") != std::string::npos);
  CHECK(refusal([](Pixels& p) { p.stride = INT64_MAX; }).find("bytes apart") != std::string::npos);
  CHECK(refusal([](Pixels& p) { p.channels = 1; }) ==
        "an image has 1 channels, expected 3 (RGB) or 4 (RGBA)");
  CHECK(refusal([](Pixels& p) { p.height = 47; }) ==
        "an image is 64 x 47 pixels, but its plan is for 64 x 48");
  CHECK(refusal([](Pixels& p) { p.width = INT64_MAX; }).find("bytes apart") != std::string::npos);
  CHECK(budget.used() == 0);
}

TEST_CASE("memory for an image is taken from the budget, or refused", "[media][pixels]") {
  const DrawnImage image = draw(1, 640, 480, 3, 1);
  const ImagePlan plan = plan_image(640, 480, {});
  const auto bytes = static_cast<std::uint64_t>(plan.patches() * 588 * 4);
  Budget roomy;
  const std::size_t size = image_patches(image.pixels, plan, roomy).bytes();
  CHECK(size == bytes);
  CHECK(roomy.peak() < bytes + 4 * 644 * 490);  // patches and box, a few rows more
  for (std::uint64_t cap = 0; cap < roomy.peak(); cap += roomy.peak() / 50 + 1) {
    Budget tight(cap);
    CHECK(test::refusal_code([&] { image_patches(image.pixels, plan, tight); }) == Code::kNoMemory);
    CHECK(tight.used() == 0);
  }
}

TEST_CASE("a large image needs memory for a few of its rows only", "[media][pixels]") {
  Budget budget;
  const std::int64_t width = 200, height = 40000;
  const DrawnImage image = draw(0, width, height, 3, 1);
  const ImagePlan plan = plan_image(width, height, {});
  std::vector<std::uint8_t> out(static_cast<std::size_t>(3 * plan.fit_width * plan.fit_height));
  resize_bicubic(image.pixels, plan.fit_width, plan.fit_height, out.data(), 3 * plan.fit_width,
                 budget);
  CHECK(budget.peak() < 32u << 10);
}

TEST_CASE("an image's key is that of its pixels, not of how they lie", "[media][pixels]") {
  const ImagePlan plan = plan_image(100, 70, {});
  const DrawnImage image = draw(1, 100, 70, 3, 5);
  const ImageKey key = image_key(image.pixels, plan);
  CHECK(image_key(draw(1, 100, 70, 3, 5, 100).pixels, plan) == key);
  CHECK(image_key(draw(1, 100, 70, 4, 5).pixels, plan) == key);  // the same colours, and alpha
  for (const std::size_t at : {std::size_t{0}, std::size_t{10000}, image.bytes.size() - 1}) {
    DrawnImage other = draw(1, 100, 70, 3, 5);
    other.bytes[at] ^= 1;
    CHECK(image_key(other.pixels, plan) != key);
  }
  CHECK(image_key(image.pixels, plan_by_name("tiny", 100, 70)) != key);
  CHECK(image_key(image.pixels, plan_by_name("exp", 100, 70)) != key);
  const DrawnImage turned = draw(1, 70, 100, 3, 5);
  CHECK(image_key(turned.pixels, plan_image(70, 100, {})) != key);
  // Old rows of this content are taken up by it: another one needs another kPreprocessing.
  CHECK(to_hex(key) == "b06dea4ebdc7696e1f33b34028b11953c8e8ba6db368965a1dcd774812f2f3eb");
}
