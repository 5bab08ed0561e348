// Images in the timeline of a session, against the numpy oracle and against themselves.
#ifndef V4I_TEST_CUDA  // which runs V4
#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/media/patches.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/safetensors_edit.h"

using namespace v4i;
using namespace v4i::session;
using namespace v4i::session::test;

namespace {

struct Part {  // ids, or an image's patches
  Ids ids;
  std::int64_t height = 0, width = 0;
  std::vector<float> patches;
};

std::string model_path() { return v4i::test::make_tiny_v41(0); }

Open v41(forward::Numerics numerics = forward::Numerics::kNative, int batch = 64) {
  Open o;
  o.path = model_path();
  o.numerics = numerics;
  o.batch = batch;
  o.context = 4096;
  return o;
}

std::vector<float> floats_of(const v4i::test::StTensor& t) {
  std::vector<float> out(t.bytes.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t code;
    std::memcpy(&code, t.bytes.data() + 2 * i, 2);
    const std::uint32_t bits = std::uint32_t{code} << 16;
    std::memcpy(&out[i], &bits, 4);
  }
  return out;
}

// case_image.json: text, an image, text, another image, text.
std::vector<Part> parts() {
  const auto json = nlohmann::json::parse(v4i::test::read_file(model_path() + "/case_image.json"));
  const Ids ids = json.at("ids");
  const std::vector<int> roles = json.at("roles");
  const auto images = v4i::test::read_safetensors(model_path() + "/images.safetensors");
  std::vector<Part> out(1);
  std::size_t image = 0;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    if (roles[t] == 0) {
      const auto& at = json.at("images").at(image);
      Part p;
      p.height = at.at("grid_h");
      p.width = at.at("grid_w");
      p.patches = floats_of(images.at("image." + std::to_string(image++) + ".patches"));
      out.push_back(std::move(p));
      out.emplace_back();
    }
    if (roles[t] < 0) out.back().ids.push_back(ids[t]);
  }
  return out;
}

void append(Session& s, const Part& p) {
  if (p.patches.empty())
    s.append(p.ids);
  else
    s.append_patches(p.height, p.width, p.patches);
}

// The logits behind every part.
std::vector<Logits> behind(Session& s, const std::vector<Part>& all, int chunk = 0) {
  RunOptions run;
  run.chunk_tokens = chunk;
  std::vector<Logits> out;
  for (const Part& p : all) {
    append(s, p);
    s.prefill(run);
    out.push_back(last(s));
  }
  return out;
}

std::vector<std::uint8_t> picture(int width, int height, unsigned seed) {
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(3 * width * height));
  for (auto& v : rgb) v = static_cast<std::uint8_t>((seed = seed * 1664525u + 1013904223u) >> 24);
  return rgb;
}

media::Pixels pixels(const std::vector<std::uint8_t>& rgb, int width, int height) {
  return {rgb.data(), width, height, 3 * width, 3};
}

}  // namespace

TEST_CASE("a session's images give the oracle's logits", "[session][images]") {
  const auto all = parts();
  REQUIRE(all.size() == 5);
  auto s = make_session(open(v41(forward::Numerics::kExact, 300)));
  const auto got = behind(*s, all);
  // v41_oracle.py --case case_image.json of 300 tokens: the last logits, by tests/oracle.
  const std::string folder = model_path() + "/golden-images";
  const std::string command = "'" + v4i::test::python() + "' '" + v4i::test::source_dir() +
                              "/tests/oracle/v41_oracle.py' '" + model_path() +
                              "' --case case_image.json --save '" + folder + ".npy' > /dev/null";
  REQUIRE(std::system(command.c_str()) == 0);
  const std::string npy = v4i::test::read_file(folder + ".npy");
  REQUIRE(npy.size() > kVocab * 4);
  std::vector<float> want(kVocab);
  std::memcpy(want.data(), npy.data() + npy.size() - kVocab * 4, kVocab * 4);
  for (std::size_t i = 0; i < kVocab; ++i) REQUIRE(std::fabs(got.back()[i] - want[i]) < 1e-4f);
}

TEST_CASE("images have the same bits whatever chunks, forks, saves and rewinds",
          "[session][images]") {
  const auto all = parts();
  for (const bool replay : {false, true}) {
    SessionOptions o;
    o.replay = replay;
    const auto context = open(v41());
    Session first(context, o);
    const auto want = behind(first, all);
    for (const int chunk : {1, 5, 7}) {
      Session s(open(v41()), o);
      CHECK(behind(s, all, chunk) == want);
    }
    auto s = std::make_unique<Session>(context, o);
    for (std::size_t i = 0; i < all.size(); ++i) {
      CAPTURE(i, replay);
      auto other = s->fork();
      append(*other, all[i]);  // saved while it is pending
      s = i % 2 == 0 ? restore(context, save(*other), o) : std::move(other);
      s->prefill({});
      REQUIRE(last(*s) == want[i]);
    }
    if (replay) continue;
    const std::int64_t end = static_cast<std::int64_t>(s->tokens().size());
    for (std::int64_t at = 1; at < end; at += 13) {  // also within an image
      auto back = restore(context, save(*s), o);
      const Ids rest(s->tokens().begin() + at, s->tokens().end());
      back->rewind(at);
      CHECK(back->tokens().size() == static_cast<std::size_t>(at));
      auto again = s->fork();
      again->rewind(at);
      again->prefill({});
      back->prefill({});
      REQUIRE(last(*back) == last(*again));
    }
  }
}

TEST_CASE("a prefix with an image is taken up by its pixels", "[session][images]") {
  const auto context = open(v41());
  const auto a = picture(70, 60, 1), b = picture(70, 60, 2);
  const auto make = [&](const std::vector<std::uint8_t>& rgb) {
    auto s = make_session(context);
    s->append(make_ids(520, 1));
    s->append_image(pixels(rgb, 70, 60));
    s->append(make_ids(600, 2));
    return s;
  };
  auto first = make(a);
  first->prefill({});
  auto same = make(a);
  same->prefill({});
  CHECK(same->metrics().taken_up_tokens >= 1024);
  CHECK(last(*same) == last(*first));
  auto other = make(b);
  other->prefill({});
  CHECK(other->metrics().taken_up_tokens == 512);
  CHECK(last(*other) != last(*first));
}

TEST_CASE("pixels and the patches that are made of them are one image", "[session][images]") {
  const auto context = open(v41());
  const auto rgb = picture(91, 40, 3);
  auto a = make_session(context), b = make_session(context);
  a->append_image(pixels(rgb, 91, 40));
  const auto plan = media::plan_image(91, 40, image_limits(context->model().config()));
  const auto patches = media::image_patches(pixels(rgb, 91, 40), plan, context->engine().budget());
  b->append_patches(plan.grid_height, plan.grid_width, {patches.data(), patches.size()});
  for (Session* s : {a.get(), b.get()}) s->prefill({});
  CHECK(last(*a) == last(*b));
  CHECK(a->tokens().size() == static_cast<std::size_t>(plan.tokens));
}

TEST_CASE("an image that makes no sense is refused and leaves nothing", "[session][images]") {
  const auto context = open(v41());
  auto s = make_session(context);
  s->append(make_ids(3));
  const auto rgb = picture(10, 10, 4);
  CHECK(has(error_of([&] { s->append_image({rgb.data(), 0, 10, 30, 3}); }), "-1 "));
  CHECK(has(error_of([&] { s->append_image({rgb.data(), 1 << 30, 1 << 30, 3, 3}); }), "-1 "));
  CHECK(has(error_of([&] { s->append_image({nullptr, 10, 10, 30, 3}); }), "-1 "));
  const std::vector<float> few(587, 0.0f), nan(588, NAN);
  CHECK(has(error_of([&] { s->append_patches(1, 1, few); }), "587"));
  CHECK(has(error_of([&] { s->append_patches(1, 1, nan); }), "-1 "));
  const std::vector<float> wide(static_cast<std::size_t>(588 * 3 * 200), 0.0f);
  CHECK(has(error_of([&] { s->append_patches(3, 200, wide); }), "tokens"));
  CHECK(s->tokens().size() == 3);
  s->prefill({});

  Open v4;
  v4.path = v4i::test::make_tiny(0);
  auto text = make_session(open(v4));
  CHECK(has(error_of([&] { text->append_image(pixels(rgb, 10, 10)); }), "takes no images"));
}

TEST_CASE("a thousand damaged files with images are refused", "[session][images]") {
  const auto context = open(v41());
  auto s = make_session(context);
  const auto rgb = picture(30, 40, 5);
  s->append_image(pixels(rgb, 30, 40));
  s->append(make_ids(9));
  s->prefill({});
  const std::string good = save(*s);
  std::uint64_t x = 1;
  for (int i = 0; i < 1000; ++i) {
    std::string bad = good;
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    const std::size_t at = (x >> 33) % (i % 2 == 0 ? bad.size() : std::size_t{400});
    bad[at] = static_cast<char>(bad[at] ^ (1 << (x & 7)));
    REQUIRE(error_of([&] { restore(context, bad); }) != "no error");
  }
}

#endif
