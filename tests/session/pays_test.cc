// When drafts pay, and how many guesses.
#include "lib/session/pays.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/catch.h"

namespace v4i::session::test {

namespace {

// A draft takes `draft`, a run of one token 100, every further token `more`.
Pays timed(std::uint64_t draft, std::uint64_t more) {
  Pays p;
  for (int i = 0; i < 200; ++i) {
    p.drafted(draft);
    p.ran(0, 100);
    p.ran(4, 100 + 4 * more);
  }
  const std::vector<float> none;
  for (int i = 0; i < 32; ++i) p.worth(none);  // the first drafts take all
  return p;
}

std::size_t brute_force(std::span<const float> chances, double draft, double more) {
  double best = 0;
  std::size_t found = 0;
  for (std::size_t n = 1; n <= chances.size(); ++n) {
    double tokens = 1, chance = 1;
    for (std::size_t i = 0; i < n; ++i) tokens += chance *= static_cast<double>(chances[i]);
    const double rate = tokens / (draft + 100 + static_cast<double>(n) * more);
    if (rate <= best) break;
    best = rate;
    found = n;
  }
  return found;
}

}  // namespace

TEST_CASE("guesses join while they raise the tokens a second", "[session][pays]") {
  for (const std::uint64_t draft : {0, 20, 100})
    for (const std::uint64_t more : {1, 10, 30, 60, 90})
      for (const float chance : {0.99f, 0.9f, 0.7f, 0.4f, 0.1f}) {
        Pays p = timed(draft, more);
        const std::vector<float> chances(5, chance);
        CAPTURE(draft, more, chance);
        CHECK(p.worth(chances) ==
              brute_force(chances, static_cast<double>(draft), static_cast<double>(more)));
      }
}

TEST_CASE("all guesses join until the times are known, and now and then", "[session][pays]") {
  const std::vector<float> chances(5, 0.01f);
  Pays fresh;
  for (int i = 0; i < 40; ++i) CHECK(fresh.worth(chances) == 5);
  Pays p = timed(10, 50);
  int all = 0;
  for (int i = 0; i < 320; ++i) all += p.worth(chances) == 5;
  CHECK(all == 10);
}

TEST_CASE("what a draft says of its guesses is measured", "[session][pays]") {
  const std::vector<float> chances(5, 0.95f);
  Pays p = timed(10, 30);
  CHECK(p.worth(chances) == 5);
  for (int i = 0; i < 400; ++i) p.judged(1, 0.95f, i % 4 == 0);  // the second is right too seldom
  CHECK(p.worth(chances) == 1);
  for (int i = 0; i < 400; ++i) p.judged(1, 0.95f, true);
  CHECK(p.worth(chances) == 5);
}

TEST_CASE("confidences that are no numbers end the guesses", "[session][pays]") {
  Pays p = timed(10, 30);
  std::vector<float> chances(5, 0.95f);
  chances[2] = std::numeric_limits<float>::quiet_NaN();
  CHECK(p.worth(chances) == 2);
}

TEST_CASE("steps go the faster way, and try the other now and then", "[session][pays]") {
  for (const bool pays : {false, true}) {
    Pays p;
    int drafts = 0;
    for (int i = 0; i < 1280; ++i) {
      const bool drafted = p.choose();
      p.took(drafted, drafted == pays ? 60 : 100, 1);
      drafts += drafted;
    }
    CAPTURE(pays);
    CHECK((pays ? 1280 - drafts : drafts) < 80);
    CHECK((pays ? 1280 - drafts : drafts) >= 24);
  }
}

}  // namespace v4i::session::test
