// Bit for bit: whatever happens to a session on the way, its logits are those of the
// uninterrupted one.  300 tokens pass every boundary of the tiny models: ratios 4 and
// 128, windows of 16, blocks of 64 rows.
#include <algorithm>
#include <cstdlib>

#include "tests/session/fixture.h"
#include "tests/support/catch.h"

namespace v4i::session::test {
namespace {

constexpr std::size_t kTokens = 300;

// Positions from which everything that follows is compared, not one token only.
bool long_tail(std::size_t p) { return p % 50 == 1 || p == 127 || p == 128 || p == 256; }

// Under a sanitizer these walks take many minutes: there, a part of the positions.
#if defined(__SANITIZE_THREAD__)
constexpr std::size_t kStride = 37;
#elif defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStride = 5;
#else
constexpr std::size_t kStride = 1;
#endif

// V4I_TEST_STRIDE: every so many positions, where each takes seconds.
std::size_t stride() {
  static const char* wanted = std::getenv("V4I_TEST_STRIDE");
  return wanted == nullptr ? kStride : std::max<std::size_t>(1, std::strtoul(wanted, nullptr, 10));
}

// How many tokens are taken back: mostly within the rollback margin of 16, where
// nothing is computed again; now and then more, where all is.
std::size_t detour(std::size_t p) { return p % 40 == 7 ? 17 + p % 9 : 1 + p % 16; }

// And there in native numerics alone.
std::vector<forward::Numerics> walked() {
  if (stride() > kStride) return {forward::Numerics::kNative};
  return {std::begin(kBoth), std::end(kBoth)};
}

struct Walk {  // a session that is taken from token to token, and what must come out
  explicit Walk(forward::Numerics numerics)
      : context(open({.numerics = numerics})),
        ids(make_ids(kTokens)),
        want(eval(*make_session(context), ids)),
        session(make_session(context)) {}

  bool step_to(std::size_t p) {
    const auto from = session->tokens().size();
    return same_rows(eval(*session, part(ids, from, p - from)), 0, want, from, p - from);
  }
  // `s` stands at `p`: what follows has the reference's bits.
  bool goes_on(Session& s, std::size_t p) const {
    const std::size_t n = long_tail(p) ? kTokens - p : std::min<std::size_t>(1, kTokens - p);
    return n == 0 || same_rows(eval(s, part(ids, p, n)), 0, want, p, n);
  }
  // Computes what is pending; the logits after `p` tokens must be there.
  bool stands_at(Session& s, std::size_t p) const {
    s.prefill({});
    return s.position() == static_cast<std::int64_t>(p) && same_rows(last(s), 0, want, p - 1, 1);
  }

  std::shared_ptr<Context> context;
  Ids ids;
  Logits want;
  std::unique_ptr<Session> session;
};

TEST_CASE("save, restore, continue equals uninterrupted at every position", "[session][family]") {
  for (const auto numerics : walked()) {
    Walk w(numerics);
    for (std::size_t p = 1; p <= kTokens; p += stride()) {
      INFO("position " << p);
      REQUIRE(w.step_to(p));
      const auto copy = restore(w.context, save(*w.session));
      REQUIRE(copy->position() == static_cast<std::int64_t>(p));
      REQUIRE(w.stands_at(*copy, p));
      REQUIRE(w.goes_on(*copy, p));
    }
  }
}

TEST_CASE("a session saved with pending tokens computes them after it is restored",
          "[session][family]") {
  Walk w(forward::Numerics::kNative);
  for (std::size_t p = 10; p < kTokens; p += 29) {
    REQUIRE(w.stands_at(
        *[&] {
          w.session->sync(part(w.ids, 0, p));
          return w.session.get();
        }(),
        p));
    w.session->append(part(w.ids, p, 5));
    const auto copy = restore(w.context, save(*w.session));
    CHECK(copy->pending() == 5);
    CHECK(w.stands_at(*copy, p + 5));
  }
}

TEST_CASE("a fork continues like its origin, which does not notice, at every position",
          "[session][family]") {
  for (const auto numerics : walked()) {
    Walk w(numerics);
    const Ids other = make_ids(kTokens, 99);
    for (std::size_t p = 1; p <= kTokens; p += stride()) {
      INFO("position " << p);
      REQUIRE(w.step_to(p));
      const auto copy = w.session->fork(), noise = w.session->fork();
      REQUIRE(w.stands_at(*copy, p));
      eval(*noise, part(other, 0, 1 + p % 9));
      REQUIRE(w.goes_on(*copy, p));
    }
  }
}

TEST_CASE("rewind to every position leaves no trace of what was taken back", "[session][family]") {
  for (const auto numerics : walked()) {
    Walk w(numerics);
    const Ids other = make_ids(kTokens, 98);
    const std::size_t step = numerics == forward::Numerics::kNative ? stride() : 2 * stride();
    for (std::size_t p = 1; p <= kTokens; p += step) {
      INFO("position " << p);
      REQUIRE(w.step_to(p));
      const auto copy = w.session->fork();
      eval(*copy, part(other, 0, detour(p)));
      copy->rewind(static_cast<std::int64_t>(p));
      REQUIRE(w.stands_at(*copy, p));
      REQUIRE(w.goes_on(*copy, p));
    }
  }
}

TEST_CASE("deep rewinds, one after the other, compute the same bits again", "[session][family]") {
  Walk w(forward::Numerics::kNative);
  eval(*w.session, w.ids);
  for (const std::size_t p : {299u, 290u, 270u, 256u, 255u, 129u, 128u, 127u, 64u, 17u, 5u, 1u}) {
    INFO("position " << p);
    w.session->rewind(static_cast<std::int64_t>(p));
    REQUIRE(w.stands_at(*w.session, p));
  }
  REQUIRE(same_rows(eval(*w.session, part(w.ids, 1, kTokens - 1)), 0, w.want, 1, kTokens - 1));
  w.session->rewind(0);
  CHECK(w.session->tokens().empty());
  REQUIRE(same_rows(eval(*w.session, w.ids), 0, w.want, 0, kTokens));
}

TEST_CASE("sync keeps the longest prefix and computes the rest, at every position",
          "[session][family]") {
  for (const auto numerics : walked()) {
    Walk w(numerics);
    for (std::size_t p = 1; p < kTokens; p += stride()) {
      INFO("position " << p);
      Ids other(w.ids.begin(), w.ids.begin() + static_cast<std::ptrdiff_t>(p));
      for (const auto t : make_ids(detour(p), p)) other.push_back(t);
      CHECK(w.session->sync(other) <= other.size());
      w.session->prefill({});
      const std::size_t reused = w.session->sync(part(w.ids, 0, p + 1));
      CHECK(reused <= p);
      CHECK(w.session->reused_tokens() == reused);
      if (p % 40 != 7 && p % 16 > 0) CHECK(reused == p);
      REQUIRE(w.stands_at(*w.session, p + 1));
    }
  }
}

TEST_CASE("sync with the same tokens, fewer and none", "[session][family]") {
  Walk w(forward::Numerics::kNative);
  w.session->sync(part(w.ids, 0, 100));
  REQUIRE(w.stands_at(*w.session, 100));
  CHECK(w.session->sync(part(w.ids, 0, 100)) == 100);
  CHECK(w.session->pending() == 0);
  CHECK(w.session->sync(part(w.ids, 0, 95)) == 94);  // the last one's logits are gone
  REQUIRE(w.stands_at(*w.session, 95));
  CHECK(w.session->sync({}) == 0);
  CHECK(w.session->tokens().empty());
  w.session->sync(w.ids);
  REQUIRE(w.stands_at(*w.session, kTokens));
}

TEST_CASE("taking back one sampled token needs no computing", "[session][family]") {
  Walk w(forward::Numerics::kNative);
  w.session->append(part(w.ids, 0, 40));
  w.session->step({});
  w.session->rewind(40);
  CHECK(w.session->pending() == 0);
  REQUIRE(w.stands_at(*w.session, 40));
}

TEST_CASE("chunks and threads do not change a bit", "[session][family]") {
  for (const auto numerics : kBoth) {
    const Ids ids = make_ids(kTokens);
    const Logits want = reference(ids, {.numerics = numerics, .batch = 300});
    for (const int threads : {1, 2}) {
      const auto context = open({.numerics = numerics, .threads = threads, .batch = 300});
      for (const int chunk : {1, 3, 64, 300}) {
        INFO("threads " << threads << " chunk " << chunk);
        // tests/forward has the whole matrix; exact repeats only the quick half of it here.
        if (numerics == forward::Numerics::kExact && chunk < 64) continue;
        const auto s = make_session(context);
        REQUIRE(same_rows(eval(*s, ids, chunk), 0, want, 0, kTokens));
      }
    }
  }
}

}  // namespace
}  // namespace v4i::session::test
