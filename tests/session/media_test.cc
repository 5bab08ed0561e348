// Tokens and images together: what append_media(), sync_media() and eval_media() promise.
#ifndef V4I_TEST_CUDA  // which runs V4
#include <algorithm>

#include "lib/base/error.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::session;
using namespace v4i::session::test;

namespace {

constexpr std::int32_t kImage = 500;  // of the tiny V4.1

Open v41() {
  Open o;
  o.path = v4i::test::make_tiny_v41(0);
  o.batch = 64;
  o.context = 4096;
  return o;
}

struct Picture {
  int width, height;
  std::vector<std::uint8_t> rgb;
  media::Pixels pixels() const { return {rgb.data(), width, height, 3 * width, 3}; }
};

Picture picture(int width, int height, unsigned seed) {
  Picture p{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height))};
  for (auto& v : p.rgb) v = static_cast<std::uint8_t>((seed = seed * 1664525u + 1013904223u) >> 24);
  return p;
}

// Text, an image, text, an image, text, of these lengths.
Ids with_images(std::size_t a, std::size_t b, std::size_t c) {
  Ids out = make_ids(a, 1);
  for (const auto& [n, seed] : {std::pair{b, 2}, std::pair{c, 3}}) {
    out.push_back(kImage);
    const Ids more = make_ids(n, static_cast<std::uint64_t>(seed));
    out.insert(out.end(), more.begin(), more.end());
  }
  return out;
}

Prompt prompt(Session& s, const Ids& ids, const std::vector<Picture>& pictures,
              std::int64_t max_tokens = 0) {
  std::vector<std::shared_ptr<Image>> images;
  for (const Picture& p : pictures) images.push_back(s.make_image(p.pixels(), max_tokens));
  return s.prompt(ids, images);
}

Logits computed(Session& s) {
  s.prefill({});
  return last(s);
}

}  // namespace

TEST_CASE("tokens with images are those appended one by one", "[session][images]") {
  const auto context = open(v41());
  const std::vector<Picture> two = {picture(50, 40, 1), picture(33, 71, 2)};
  const Ids ids = with_images(5, 7, 9);
  auto a = make_session(context), b = make_session(context);
  a->append_media(prompt(*a, ids, two));
  b->append(std::span(ids).first(5));
  b->append_image(two[0].pixels());
  b->append(std::span(ids).subspan(6, 7));
  b->append_image(two[1].pixels());
  b->append(std::span(ids).last(9));
  CHECK(std::equal(a->tokens().begin(), a->tokens().end(), b->tokens().begin(), b->tokens().end()));
  CHECK(computed(*a) == computed(*b));
  auto c = make_session(context);
  std::vector<float> all(a->tokens().size() * kVocab);
  c->eval_media(prompt(*c, ids, two), all.data(), {});
  CHECK(Logits(all.end() - kVocab, all.end()) == last(*a));
}

TEST_CASE("sync_media keeps what has the same tokens and images", "[session][images]") {
  const auto context = open(v41());
  const Picture one = picture(200, 150, 1), two = picture(33, 71, 2), other = picture(33, 71, 3);
  const Ids ids = with_images(520, 30, 40);
  const auto reference = [&](const Prompt& p) {
    auto s = make_session(context);
    s->append_media(p);
    return computed(*s);
  };
  auto s = make_session(context);
  const Prompt base = prompt(*s, ids, {one, two});
  const auto second = static_cast<std::size_t>(base.images[1].first);
  const std::size_t n = base.tokens.size();
  CHECK(s->sync_media(base) == 0);
  const Logits want = computed(*s);
  CHECK(s->sync_media(base) == n);
  CHECK(last(*s) == want);

  Ids longer = ids;
  const Ids more = make_ids(11, 9);
  longer.insert(longer.end(), more.begin(), more.end());
  const Prompt next = prompt(*s, longer, {one, two});
  CHECK(s->sync_media(next) == n);
  CHECK(s->pending() == 11);
  CHECK(computed(*s) == reference(next));

  const Prompt changed = prompt(*s, longer, {one, other});  // same size: the ids are the same
  REQUIRE(changed.tokens == next.tokens);
  const std::size_t kept = s->sync_media(changed);
  CHECK(kept >= 512);  // where the first snapshot is
  CHECK(kept <= second);
  CHECK(computed(*s) == reference(changed));
  CHECK(last(*s) != reference(next));

  const Prompt smaller = prompt(*s, ids, {one, two}, 19);
  CHECK(smaller.tokens.size() < n);
  CHECK(s->sync_media(smaller) <= 520);  // the first image has another plan
  CHECK(computed(*s) == reference(smaller));
  CHECK(s->sync_media(prompt(*s, make_ids(20, 1), {})) <= 20);
  CHECK(s->tokens().size() == 20);
}

TEST_CASE("sync_media goes on from any place within an image", "[session][images]") {
  const auto context = open(v41());
  const Picture one = picture(50, 40, 1), two = picture(33, 71, 2);
  const Ids ids = with_images(20, 6, 5);
  auto s = make_session(context);
  const Prompt base = prompt(*s, ids, {one, two});
  s->append_media(base);
  const Logits want = computed(*s);
  const std::string saved = save(*s);
  for (std::int64_t at = 1; at < static_cast<std::int64_t>(base.tokens.size()); at += 5) {
    CAPTURE(at);
    auto back = at % 2 == 0 ? restore(context, saved, {}) : s->fork();
    back->rewind(at);
    auto again = restore(context, save(*back), {});  // holds a part of an image
    for (Session* x : {back.get(), again.get()}) {
      CHECK(x->sync_media(base) <= static_cast<std::size_t>(at));
      REQUIRE(computed(*x) == want);
      auto copy = restore(context, save(*x), {});
      CHECK(copy->sync_media(base) == base.tokens.size());
    }
  }
}

TEST_CASE("sync takes the tokens of a timeline with images, and no others", "[session][images]") {
  const auto context = open(v41());
  const Picture one = picture(50, 40, 1);
  auto s = make_session(context);
  Ids ids = make_ids(9, 1);
  ids.push_back(kImage);
  s->append_media(prompt(*s, ids, {one}));
  s->prefill({});
  Ids all(s->tokens().begin(), s->tokens().end());
  CHECK(s->sync(all) == all.size());
  all.push_back(7);
  CHECK(s->sync(all) == all.size() - 1);
  const Logits with = computed(*s);
  auto twin = make_session(context);
  ids.push_back(7);
  twin->append_media(prompt(*twin, ids, {one}));
  CHECK(computed(*twin) == with);
  auto fresh = make_session(context);
  CHECK(has(error_of([&] { fresh->sync(all); }), "append_media"));
  CHECK(has(error_of([&] { fresh->append(all); }), "token 9 is id 500"));
  std::vector<float> logits(all.size() * kVocab);
  CHECK(has(error_of([&] { fresh->eval(all, logits.data(), {}); }), "sync_media"));
  CHECK(fresh->tokens().empty());
  all.push_back(kImage);
  CHECK(has(error_of([&] { s->sync(all); }), "stands for an image"));
  CHECK(s->tokens().size() == all.size() - 1);
}

TEST_CASE("a prompt that does not fit its images leaves nothing", "[session][images]") {
  Open o = v41();
  o.context = 60;
  const auto context = open(o);
  const Picture one = picture(50, 40, 1);
  auto s = make_session(context);
  s->append(make_ids(3));
  const Ids ids = with_images(2, 2, 2);
  CHECK(has(error_of([&] { prompt(*s, ids, {one}); }), "2 ids 500"));
  CHECK(has(error_of([&] { prompt(*s, ids, {one}); }), "1 images"));
  CHECK(has(error_of([&] { prompt(*s, make_ids(3), {one}); }), "0 ids 500"));
  CHECK(has(error_of([&] { prompt(*s, {1, 512}, {}); }), "512"));
  CHECK(has(error_of([&] { s->make_image(one.pixels(), 18); }), "18 tokens"));
  CHECK(has(error_of([&] { s->make_image(one.pixels(), -1); }), "-1 tokens"));
  Ids many(20, kImage);
  const std::vector<Picture> pictures(20, one);
  CHECK(has(error_of([&] { s->append_media(prompt(*s, many, pictures)); }), "do not fit"));
  CHECK(has(error_of([&] { s->sync_media(prompt(*s, many, pictures)); }), "do not fit"));
  CHECK(s->tokens().size() == 3);
  s->prefill({});
}

TEST_CASE("a lower limit of tokens gives another, smaller image", "[session][images]") {
  auto s = make_session(open(v41()));
  const Picture one = picture(300, 200, 1);
  const auto full = s->make_image(one.pixels()), same = s->make_image(one.pixels(), 1000);
  CHECK(full == same);
  std::int64_t before = full->tokens();
  for (const std::int64_t most : {40, 30, 25, 19}) {
    const auto less = s->make_image(one.pixels(), most);
    CHECK(less->tokens() <= std::min(most, before));
    CHECK((less->content() == full->content()) == (less->tokens() == full->tokens()));
    before = less->tokens();
  }
  CHECK(before < full->tokens());
  const std::vector<float> patches(static_cast<std::size_t>(588 * 9 * 12), 0.0f);
  CHECK(s->make_patches(9, 12, patches)->tokens() == 17);
  CHECK(has(error_of([&] { s->make_patches(15, 12, std::vector<float>(588 * 15 * 12), 19); }),
            "at most 19"));
}

#endif
