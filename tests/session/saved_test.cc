// Saved sessions: what continues, and what is refused.
#include "lib/session/saved.h"

#include <cstddef>
#include <random>

#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"

namespace v4i::session::test {
namespace {

const std::shared_ptr<Context>& context() {
  static const auto made = open();
  return made;
}

std::unique_ptr<Session> played(std::size_t prompt = 140, int steps = 6) {
  auto s = make_session(context(), 77);
  s->set_sampler(hot());
  s->append(make_ids(prompt));
  for (int i = 0; i < steps; ++i) s->step({});
  return s;
}

void reseal(std::string* bytes) {  // the header's checksum, after a change
  const std::uint64_t sum = checksum64(bytes->data(), offsetof(SavedHeader, checksum));
  std::memcpy(bytes->data() + offsetof(SavedHeader, checksum), &sum, sizeof sum);
}

template <class T>
std::string with(std::string bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  reseal(&bytes);
  return bytes;
}

TEST_CASE("a restored session has the tokens, seed, finish and logits, and draws the same",
          "[session][family]") {
  const auto s = played();
  const auto copy = restore(context(), save(*s));
  copy->set_sampler(hot());
  CHECK(std::equal(s->tokens().begin(), s->tokens().end(), copy->tokens().begin(),
                   copy->tokens().end()));
  CHECK(copy->finish() == s->finish());
  CHECK(same_rows(last(*copy), 0, last(*s), 0, 1));
  CHECK(save(*copy) == save(*s));
  for (int i = 0; i < 30 && s->finish() == Finish::kNone; ++i) {
    const Step a = s->step({}), b = copy->step({});
    REQUIRE(a.token == b.token);
    REQUIRE(a.logprob == b.logprob);
  }
}

TEST_CASE("an empty session and one that has computed nothing can be saved") {
  const auto s = make_session(context(), 5);
  CHECK(restore(context(), save(*s))->tokens().empty());
  s->append(make_ids(9));
  const auto copy = restore(context(), save(*s));
  CHECK(copy->pending() == 9);
  CHECK(copy->step({}).token == s->step({}).token);
}

TEST_CASE("another model, other numerics, other kernels and another version are told apart") {
  const std::string bytes = save(*played());
  CHECK(
      has(error_of([&] { restore(open({.seed = 1}), bytes); }), "-6 session was saved from model"));
  CHECK(error_of([&] { restore(open({.numerics = forward::Numerics::kExact}), bytes); }) ==
        "-6 session was saved in native numerics, the model is open in exact");
  CHECK(error_of([&] { restore(context(), with(bytes, 8, std::uint32_t{7})); }) ==
        "-6 saved session has format version 7, this library reads versions 3 and 4");
  CHECK(has(error_of([&] { restore(context(), "What is this file?" + bytes); }),
            "-5 this is no saved session"));
  const auto scalar = open({.isa = "scalar"});  // on a device that changes nothing
  if (context()->forward().identity() != scalar->forward().identity())
    CHECK(has(error_of([&] { restore(scalar, bytes); }), "\"scalar\"; their results differ"));
  SessionOptions small;
  small.context_size = 100;
  CHECK(error_of([&] { restore(context(), bytes, small); }) ==
        "-10 saved session has 146 tokens, the context is 100");
}

TEST_CASE("a session of other numerics is taken by its tokens when asked so") {
  const auto saved = played();
  const std::string bytes = save(*saved);
  SessionOptions recompute;
  recompute.recompute = true;
  std::size_t read = 0;
  const auto copy = Session::restore(
      open({.numerics = forward::Numerics::kExact}), recompute,
      [&](void* p, std::size_t n) { read += bytes.copy(static_cast<char*>(p), n, read); });
  CHECK(read < bytes.size());
  CHECK(copy->position() == 0);
  const Ids ids(saved->tokens().begin(), saved->tokens().end());
  REQUIRE(Ids(copy->tokens().begin(), copy->tokens().end()) == ids);
  CHECK(copy->pending() == static_cast<std::int64_t>(ids.size()));
  copy->prefill({});
  const Logits want = reference(ids, {.numerics = forward::Numerics::kExact});
  CHECK(same_rows(last(*copy), 0, want, ids.size() - 1, 1));
  // What the context could have saved itself is restored as it is.
  CHECK(restore(context(), bytes, recompute)->position() == saved->position());
}

TEST_CASE("numbers that do not agree are refused behind a right checksum too") {
  const std::string bytes = save(*played());
  auto refused = [&](std::size_t offset, auto value) {
    return has(error_of([&] { restore(context(), with(bytes, offset, value)); }), "-5 ");
  };
  CHECK(refused(offsetof(SavedHeader, position), std::uint64_t{147}));
  CHECK(refused(offsetof(SavedHeader, position), std::uint64_t{100}));
  CHECK(refused(offsetof(SavedHeader, position), ~std::uint64_t{0}));
  CHECK(refused(offsetof(SavedHeader, text_from), std::uint64_t{1} << 40));
  CHECK(refused(offsetof(SavedHeader, finish), std::int32_t{9}));
  CHECK(refused(offsetof(SavedHeader, has_logits), std::uint32_t{2}));
  CHECK(refused(offsetof(SavedHeader, has_logits), std::uint32_t{0}));
  CHECK(refused(offsetof(SavedHeader, token_count), std::uint64_t{145}));
  CHECK(has(error_of([&] {
              restore(context(),
                      with(bytes, offsetof(SavedHeader, token_count), ~std::uint64_t{0}));
            }),
            "-10 "));
}

TEST_CASE("a file cut anywhere is refused") {
  const std::string bytes = save(*played());
  for (std::size_t n = 0; n < bytes.size(); n += 1 + n / 7)
    CHECK(has(error_of([&] { restore(context(), bytes.substr(0, n)); }), "-5 "));
  CHECK(has(error_of([&] { restore(context(), bytes.substr(0, bytes.size() - 1)); }), "-5 "));
}

TEST_CASE("a thousand damaged files: each is refused with a sentence, none is believed") {
  const std::string bytes = save(*played());
  std::mt19937 g(17);
  const auto used = context()->engine().budget().used();
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string bad = bytes;
    // Half of them in the header and the beginning of the KV state, where numbers are.
    const std::size_t reach = i % 2 == 0 ? bad.size() : std::min<std::size_t>(bad.size(), 3400);
    for (int n = 1 + static_cast<int>(g() % 3); n > 0; --n)
      bad[g() % reach] ^= static_cast<char>(1 + g() % 255);
    if (g() % 5 == 0) bad.resize(g() % bad.size());
    if (g() % 4 == 0 && bad.size() > sizeof(SavedHeader)) reseal(&bad);
    const std::string text = error_of([&] {
      // Accepted is a file whose damage means nothing: the seed and such like.
      const auto s = restore(context(), bad);
      CHECK(s->tokens().size() == 146);
      s->step({});
    });
    CHECK(!has(text, "-12 "));
    refused += text != "no error";
  }
  CHECK(refused > 950);
  CHECK(context()->engine().budget().used() == used);
}

TEST_CASE("an Error of the writer or reader comes through, the session stays") {
  const auto s = played();
  CHECK(error_of([&] {
          s->save([](const void*, std::size_t) { fail(Code::kIo, "disk full"); });
        }) == "-4 disk full");
  CHECK(s->step({}).token >= 0);
}

TEST_CASE("restoring with a budget that is too small is refused and gives all back") {
  const auto engine = make_engine();
  const auto small = open(engine);
  const std::string bytes = save(*played());
  const Place place = kv_place(*small);
  const auto used = engine->budget().used(place);
  engine->budget().set_cap(used + 100000, place);
  CHECK(has(error_of([&] { restore(small, bytes); }), "-3 "));
  CHECK(has(error_of([&] { make_session(small); }), "-3 "));
  CHECK(engine->budget().used(place) == used);
  engine->budget().set_cap(Budget::kNoCap, place);
  CHECK(restore(small, bytes)->tokens().size() == 146);
}

}  // namespace
}  // namespace v4i::session::test
