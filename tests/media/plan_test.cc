// Sizes and tokens of images against published numbers and the planner in Python.
#include <cstdint>
#include <limits>
#include <sstream>
#include <vector>

#include "lib/base/error.h"
#include "lib/media/image_plan.h"
#include "tests/media/draw.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::media;

namespace {

struct Known {
  std::int64_t width, height;
  std::vector<std::int64_t> plan;  // box, patches, cells (width x height), tokens
};

std::vector<std::int64_t> numbers(const ImagePlan& p) {
  return {p.box_width, p.box_height, p.grid_width, p.grid_height, p.columns, p.rows, p.tokens};
}

// Of make_golden.py's plans.txt; -1 where nothing of the image would be left.
void append_plan(const std::string& name, std::int64_t width, std::int64_t height,
                 std::vector<std::int64_t>& out) {
  try {
    const ImagePlan p = plan_by_name(name, width, height);
    out.insert(out.end(), {p.box_width, p.box_height, p.fit_width, p.fit_height, p.fit_x, p.fit_y,
                           p.grid_width, p.grid_height, p.columns, p.rows, p.tokens});
  } catch (const Error& e) {
    CHECK(e.text().find("nothing of it is left") != std::string::npos);
    out.insert(out.end(), 11, -1);
  }
}

}  // namespace

TEST_CASE("V4.1's planner gives the thirteen plans of the official one", "[media][plan]") {
  const std::vector<Known> known = {
      {64, 64, {546, 546, 39, 39, 13, 13, 184}},
      {100, 300, {322, 952, 23, 68, 8, 23, 209}},
      {640, 480, {644, 490, 46, 35, 16, 12, 206}},
      {1024, 768, {1036, 770, 74, 55, 25, 19, 496}},
      {1280, 720, {1288, 728, 92, 52, 31, 18, 578}},
      {1920, 1080, {1708, 966, 122, 69, 41, 23, 968}},
      {1080, 1920, {966, 1708, 69, 122, 23, 41, 986}},
      {2048, 2048, {1302, 1302, 93, 93, 31, 31, 994}},
      {4000, 3000, {1512, 1134, 108, 81, 36, 27, 1001}},
      {8000, 500, {4704, 294, 336, 21, 112, 7, 793}},
      {500, 8000, {294, 4704, 21, 336, 7, 112, 898}},
      {20000, 10, {24332, 14, 1738, 1, 580, 1, 583}},
      {10, 20000, {42, 21462, 3, 1533, 1, 511, 1024}},
  };
  for (const Known& k : known) {
    CAPTURE(k.width, k.height);
    CHECK(numbers(plan_image(k.width, k.height, {})) == k.plan);
  }
}

TEST_CASE("Vision-Exp's planner gives its known plans", "[media][plan]") {
  const std::vector<Known> known = {
      {64, 64, {392, 392, 28, 28, 10, 10, 114}},      {544, 544, {546, 546, 39, 39, 13, 13, 198}},
      {640, 480, {644, 490, 46, 35, 16, 12, 206}},    {1280, 720, {1036, 588, 74, 42, 25, 14, 366}},
      {1920, 1080, {1036, 588, 74, 42, 25, 14, 366}}, {2000, 2000, {756, 756, 54, 54, 18, 18, 346}},
      {4000, 4000, {756, 756, 54, 54, 18, 18, 346}},  {8000, 500, {2016, 252, 144, 18, 48, 6, 298}},
  };
  for (const Known& k : known) {
    CAPTURE(k.width, k.height);
    CHECK(numbers(plan_image_exp(k.width, k.height, kExpLimits)) == k.plan);
  }
}

TEST_CASE("20,000 random sizes have the plans of the Python planner", "[media][plan]") {
  std::istringstream lines(golden("plans.txt"));
  std::string name, before, want;
  int group = 0, groups = 0;
  std::uint64_t seed = 0;
  Sizes sizes(seed);
  for (; lines >> name >> group >> want; ++groups, before = name) {
    if (!before.empty() && before != name) sizes = Sizes(++seed);
    std::vector<std::int64_t> plans;
    for (int i = 0; i < 1000; ++i) {
      const auto [w, h] = sizes.next();
      append_plan(name, w, h, plans);
    }
    CAPTURE(name, group);
    CHECK(sha256_of(plans.data(), plans.size() * sizeof plans[0]) == want);
  }
  CHECK(groups == 60);  // of V4.1, Vision-Exp and a tiny model's limits
}

TEST_CASE("an image lies in the middle of its box", "[media][plan]") {
  const ImagePlan wide = plan_image(20000, 10, {});
  CHECK(wide.fit_width == 24332);
  CHECK(wide.fit_height == 12);  // 12.166
  CHECK(wide.fit_y == 1);
  CHECK(wide.fit_x == 0);
  const ImagePlan tall = plan_image(10, 20000, {});
  CHECK(tall.fit_width == 11);  // 10.731
  CHECK(tall.fit_height == 21462);
  CHECK(tall.fit_x == 16);                                           // 15.5, ties to even
  const ImagePlan squeezed = plan_image_exp(8000, 500, kExpLimits);  // all of the box
  CHECK(squeezed.fit_width == squeezed.box_width);
  CHECK(squeezed.fit_height == squeezed.box_height);
}

TEST_CASE("sizes that no image has are refused with a sentence", "[media][plan]") {
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  const std::pair<std::int64_t, std::int64_t> sizes[] = {
      {0, 1},
      {1, 0},
      {-1, 5},
      {kHuge, kHuge},
      {1, std::int64_t{1} << 31},
      {8193, 8192},
      {kHuge, 1},
      {1, -kHuge},
      {std::int64_t{1} << 31, 1},
      {1, 60 << 20},
      {60 << 20, 1},
      {0, 0},
      {-5, -5},
  };
  for (const auto& [w, h] : sizes) {
    CAPTURE(w, h);
    const auto v41 = [&, w = w, h = h] { plan_image(w, h, {}); };
    CHECK(test::refusal_code(v41) == Code::kInvalid);
    CHECK(test::refusal(v41).starts_with("an image "));
    if (w <= h)
      CHECK(test::refusal_code([&, w = w, h = h] { plan_image_exp(w, h, kExpLimits); }) ==
            Code::kInvalid);
  }
  CHECK(plan_image(8192, 8192, {}).tokens == 994);
  CHECK(test::refusal([] { plan_image(8193, 8192, {}); }) ==
        "an image is 8193 x 8192 pixels, expected at most 67108864 in all");
}

TEST_CASE("limits that fit no image are refused, whatever they are", "[media][plan]") {
  constexpr std::int64_t kWrong[] = {std::numeric_limits<std::int64_t>::min(), -1, 0,
                                     std::numeric_limits<std::int64_t>::max()};
  std::int64_t ImageLimits::*const kFields[] = {&ImageLimits::patch, &ImageLimits::merge,
                                                &ImageLimits::max_tokens, &ImageLimits::min_pixels,
                                                &ImageLimits::max_pixels};
  for (const auto field : kFields)
    for (const std::int64_t wrong : kWrong) {
      if (field == &ImageLimits::min_pixels && wrong == 0) continue;  // no enlarging
      ImageLimits l;
      l.*field = wrong;
      CHECK(test::refusal([&] { plan_image(640, 480, l); }).starts_with("an image tower has "));
      CHECK(test::refusal([&] { plan_image_exp(640, 480, l); }).starts_with("an image tower has "));
    }
  ImageLimits l;
  l.max_wh_ratio = std::numeric_limits<double>::quiet_NaN();
  CHECK(test::refusal_code([&] { plan_image(640, 480, l); }) == Code::kInvalid);
}

TEST_CASE("no limits and size make a plan above them", "[media][plan]") {
  Sizes sizes(7);
  for (int i = 0; i < 3000; ++i) {
    const auto [w, h] = sizes.next();
    const auto [patch, merge] = sizes.next();
    const auto [tokens, least] = sizes.next();
    ImageLimits l;
    l.patch = patch % 64 + 1;
    l.merge = merge % 8 + 1;
    l.max_tokens = tokens % 4096 + 1;
    l.min_pixels = least;
    l.max_wh_ratio = i % 3 == 0 ? 0 : 1.0 + 0.37 * static_cast<double>(i % 50);
    CAPTURE(w, h, l.patch, l.merge, l.max_tokens, l.min_pixels, l.max_wh_ratio);
    for (const auto make : {plan_image, plan_image_exp}) {
      try {
        const ImagePlan p = make(w, h, l);
        CHECK(p.tokens <= l.max_tokens);
        CHECK(p.box_width * p.box_height <= l.max_pixels);
        CHECK((p.fit_width >= 1 && p.fit_x >= 0 && p.fit_x + p.fit_width <= p.box_width));
        CHECK((p.fit_height >= 1 && p.fit_y >= 0 && p.fit_y + p.fit_height <= p.box_height));
      } catch (const Error& e) {
        CHECK(e.code() == Code::kInvalid);
      }
    }
  }
}
