// DeepSeek-V4.1 through the C interface: capabilities, Engram, images, replayed prompts.
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/capi/fixture.h"
#include "tests/support/tiny_model.h"

using namespace v4i::test;

namespace {

const v4infer::Model& v41() {
  static const v4infer::Model model = ok(v4infer::Model::open(engine(), make_tiny_v41(0).c_str()));
  return model;
}

v4infer::Session session(std::uint32_t prefill = V4I_PREFILL_FULL) {
  auto o = v4infer::init<v4i_session_options>();
  o.prefill = prefill;
  return ok(v4infer::Session::create(v41(), o));
}

std::vector<float> logits(const v4infer::Session& s) {
  const float* out = nullptr;
  std::size_t count = 0;
  REQUIRE(v4i_session_logits(s.get(), &out, &count, nullptr) == V4I_OK);
  return {out, out + count};
}

v4i_image image_of(const std::vector<std::uint8_t>& bytes, std::uint32_t width,
                   std::uint32_t height, int format) {
  auto i = v4infer::init<v4i_image>();
  i.format = format;
  i.width = width;
  i.height = height;
  i.data = bytes.data();
  i.data_bytes = bytes.size();
  return i;
}

std::vector<std::uint8_t> noise(std::size_t n) {
  std::vector<std::uint8_t> out(n);
  std::uint32_t x = 1;
  for (auto& v : out) v = static_cast<std::uint8_t>((x = x * 1664525u + 1013904223u) >> 24);
  return out;
}

}  // namespace

TEST_CASE("a V4.1 model says what it has") {
  const v4i_model_info info = ok(v41().info());
  for (const std::uint32_t c : {V4I_CAP_IMAGE, V4I_CAP_DRAFT, V4I_CAP_ENGRAM})
    CHECK((info.capabilities & c) == c);
  CHECK((info.capabilities & (V4I_CAP_AUDIO | V4I_CAP_VIDEO)) == 0);
  CHECK(std::string(info.family) == "deepseek_v41");
  CHECK((ok(model().info()).capabilities & (V4I_CAP_IMAGE | V4I_CAP_ENGRAM)) == 0);
}

TEST_CASE("Engram statistics count rows of every table and say how far gates are open") {
  auto s = session();
  ok(s.append(some_tokens(40)));
  ok(s.prefill());
  auto stats = v4infer::init<v4i_engram_stats>();
  REQUIRE(v4i_session_engram_stats(s.get(), &stats, nullptr) == V4I_OK);
  CHECK(stats.lookups == 40 * 2 * 6);  // two tables, three orders of two heads
  CHECK(stats.table_hits <= stats.lookups);
  CHECK(stats.mean_gate > 0);
  CHECK(stats.mean_gate < 1);
  auto text = new_session();
  refused(V4I_E_UNSUPPORTED, "n-gram",
          [&](v4i_error** err) { return v4i_session_engram_stats(text.get(), &stats, err); });
}

TEST_CASE("an image is taken as RGB8 and as RGBA8 with any stride, its alpha dropped") {
  constexpr std::uint32_t kWidth = 50, kHeight = 61;
  const auto rgb = noise(3 * kWidth * kHeight);
  std::vector<std::uint8_t> rgba((4 * kWidth + 12) * kHeight, 7);
  for (std::size_t y = 0; y < kHeight; ++y)
    for (std::size_t x = 0; x < kWidth; ++x)
      std::memcpy(&rgba[y * (4 * kWidth + 12) + 4 * x], &rgb[3 * (y * kWidth + x)], 3);
  auto a = session(), b = session();
  for (auto* s : {&a, &b}) ok(s->append(some_tokens(3)));
  auto i = image_of(rgb, kWidth, kHeight, V4I_PIXELS_RGB8);
  REQUIRE(v4i_session_append_image(a.get(), &i, nullptr) == V4I_OK);
  i = image_of(rgba, kWidth, kHeight, V4I_PIXELS_RGBA8);
  i.stride_bytes = 4 * kWidth + 12;
  REQUIRE(v4i_session_append_image(b.get(), &i, nullptr) == V4I_OK);
  for (auto* s : {&a, &b}) ok(s->prefill());
  CHECK(logits(a) == logits(b));
}

TEST_CASE("images that cannot be are refused with a sentence") {
  auto s = session();
  const auto rgb = noise(300);
  const auto refuse = [&](v4i_image i, v4i_status want, const char* word) {
    refused(want, word,
            [&](v4i_error** err) { return v4i_session_append_image(s.get(), &i, err); });
  };
  refuse(image_of(rgb, 10, 11, V4I_PIXELS_RGB8), V4I_E_INVALID, "do not agree");
  refuse(image_of(rgb, 0, 10, V4I_PIXELS_RGB8), V4I_E_INVALID, "do not agree");
  refuse(image_of(rgb, 0xffffffffu, 0xffffffffu, V4I_PIXELS_RGBA8), V4I_E_INVALID, "agree");
  refuse(image_of(rgb, 10, 10, 5), V4I_E_INVALID, "format");
  refuse(image_of(rgb, 1, 1, V4I_PIXELS_PATCHES), V4I_E_INVALID, "for each patch");
  auto i = image_of(rgb, 10, 10, V4I_PIXELS_RGB8);
  i.data = nullptr;
  refuse(i, V4I_E_INVALID, "data");
  i = image_of(rgb, 10, 10, V4I_PIXELS_RGB8);
  i.stride_bytes = 29;
  refuse(i, V4I_E_INVALID, "agree");
  auto text = new_session();
  i = image_of(rgb, 10, 10, V4I_PIXELS_RGB8);
  refused(V4I_E_UNSUPPORTED, "images",
          [&](v4i_error** err) { return v4i_session_append_image(text.get(), &i, err); });
}

TEST_CASE("a replayed prompt is close to the full one, and V4 refuses it") {
  auto full = session(), replayed = session(V4I_PREFILL_REPLAY);
  for (auto* s : {&full, &replayed}) {
    ok(s->append(some_tokens(100)));
    ok(s->prefill());
  }
  const auto a = logits(full), b = logits(replayed);
  double difference = 0, size = 0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    difference += std::fabs(double(a[k]) - b[k]);
    size += std::fabs(double(a[k]));
  }
  CHECK(difference > 0);
  CHECK(difference < 0.2 * size);
  auto o = v4infer::init<v4i_session_options>();
  o.prefill = V4I_PREFILL_REPLAY;
  v4i_session* out = nullptr;
  refused(V4I_E_UNSUPPORTED, "replayed",
          [&](v4i_error** err) { return v4i_session_create(model().get(), &o, &out, err); });
  o.prefill = 2;
  refused(V4I_E_INVALID, "prefill",
          [&](v4i_error** err) { return v4i_session_create(v41().get(), &o, &out, err); });
}
