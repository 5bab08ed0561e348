// Stop strings: nothing of one is ever shown, whatever the pieces.
#include "lib/session/stop_filter.h"

#include <random>

#include "lib/base/error.h"
#include "tests/support/catch.h"

namespace v4i::session {
namespace {

// By the definition: cut before the stop string that is complete first.
std::string cut(const std::string& text, const std::vector<std::string>& stop, bool* found) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const auto& s : stop)
      if (s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0)
        longest = std::max(longest, s.size());
    if (longest > 0) {
      *found = true;
      return text.substr(0, end - longest);
    }
  }
  *found = false;
  return text;
}

TEST_CASE("what is shown is the text before the first stop string, for any pieces") {
  std::mt19937 g(5);
  int matches = 0;
  for (int round = 0; round < 4000; ++round) {
    auto word = [&](std::size_t n) {
      std::string s(n, ' ');
      for (char& c : s) c = static_cast<char>('a' + g() % 2);
      return s;
    };
    std::vector<std::string> stop(1 + g() % 3);
    for (auto& s : stop) s = word(2 + g() % 5);
    const std::string text = word(g() % 24);
    bool found = false;
    const std::string want = cut(text, stop, &found);
    StopFilter filter(stop);
    std::string shown;
    for (std::size_t i = 0; i < text.size() && !filter.matched();) {
      const std::size_t n = 1 + g() % 6;
      shown += filter.push(text.substr(i, n));
      CHECK(want.compare(0, shown.size(), shown) == 0);  // never more than may be shown
      i += n;
    }
    CHECK(filter.matched() == found);
    if (!filter.matched()) shown += filter.flush();
    CHECK(shown == want);
    matches += found;
  }
  CHECK(matches > 1000);
  CHECK(matches < 3900);
}

TEST_CASE("only what may still become a stop string is held back") {
  const std::vector<std::string> stop = {"###", "end."};
  StopFilter filter(stop);
  CHECK(filter.push("hello #") == "hello ");
  CHECK(filter.push("x") == "#x");
  CHECK(filter.push("the en") == "the ");
  CHECK(filter.push("d") == "");
  CHECK(filter.push("!") == "end!");
  CHECK(filter.push("##") == "");
  CHECK(filter.push("# and more") == "");
  CHECK(filter.matched());
  CHECK(filter.push("silence") == "");
}

TEST_CASE("what was held back comes out at the end") {
  const std::vector<std::string> stop = {"abc"};
  StopFilter filter(stop);
  CHECK(filter.push("xab") == "x");
  CHECK(filter.flush() == "ab");
  CHECK(filter.flush() == "");
}

TEST_CASE("an empty stop string is refused, no stop strings hold nothing back") {
  const std::vector<std::string> empty = {"a", ""}, none;
  CHECK_THROWS_AS(StopFilter(empty), Error);
  StopFilter filter(none);
  CHECK(filter.push("anything") == "anything");
}

}  // namespace
}  // namespace v4i::session
