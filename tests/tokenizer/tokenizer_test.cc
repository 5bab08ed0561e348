// Tokenizer: the ids of Hugging Face, every byte back, and no way in for special tokens.
#include "lib/tokenizer/tokenizer.h"

#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "lib/base/file.h"
#include "tests/support/catch.h"
#include "tests/tokenizer/vectors.h"

namespace v4i::tokenizer {
namespace {

std::shared_ptr<const Tokenizer> small() {
  static const auto t = Tokenizer::open(golden("tokenizer.json"));
  return t;
}

std::vector<std::int32_t> encode(const Tokenizer& t, std::string_view text, bool special = false) {
  std::vector<std::int32_t> ids;
  t.encode(text, special, ids);
  return ids;
}

// Returns how many vectors agree; the first that does not is reported.
std::size_t compare(const Tokenizer& t, const std::string& vectors, std::size_t& count) {
  VectorFile file(read_text_file(vectors, std::size_t{1} << 30));
  std::size_t equal = 0;
  count = 0;
  for (Vector v; file.next(v); ++count) {
    const auto ids = encode(t, v.text, v.cut);
    if (ids != v.ids && equal == count) {
      CAPTURE(count, v.cut, v.text, v.ids, ids);
      CHECK(ids == v.ids);
    }
    equal += ids == v.ids && t.decode(ids) == v.text;
  }
  return equal;
}

TEST_CASE("Every golden vector gets the ids of Hugging Face and decodes to its text") {
  std::size_t count = 0;
  const std::size_t equal = compare(*small(), golden("vectors.bin"), count);
  CHECK(count == 6000);
  CHECK(equal == count);
}

TEST_CASE("The published tokenizer agrees with Hugging Face", "[.][published]") {
  const char* model = std::getenv("V4I_TOKENIZER");
  const char* vectors = std::getenv("V4I_VECTORS");
  REQUIRE(model != nullptr);
  REQUIRE(vectors != nullptr);
  const auto begin = std::chrono::steady_clock::now();
  const auto t = Tokenizer::open(model);
  const std::chrono::duration<double> open = std::chrono::steady_clock::now() - begin;
  std::size_t count = 0;
  const std::size_t equal = compare(*t, vectors, count);
  WARN("opened in " << open.count() << " s; " << equal << " of " << count << " texts identical");
  CHECK(equal == count);
}

TEST_CASE("Any bytes come back from decode(encode(x))") {
  std::mt19937 rng(1);
  for (int i = 0; i < 3000; ++i) {
    std::string s(rng() % 80, '\0');
    for (char& c : s)
      c = static_cast<char>(i % 2 != 0 ? rng() : "\xe4\xb8\xad\xef\xbd\x9c<a 1\n"[rng() % 11]);
    CAPTURE(s);
    REQUIRE(small()->decode(encode(*small(), s, i % 3 == 0)) == s);
  }
}

TEST_CASE("A megabyte of one thing is encoded in linear time and comes back") {
  for (const char* unit :
       {"a", " ", "\n", "\xe4\xb8\xad", "1", "!", "\xcc\x81", "\xff", "ab", " a", "<"}) {
    std::string s;
    while (s.size() < (1u << 20)) s += unit;
    const auto begin = std::chrono::steady_clock::now();
    const auto ids = encode(*small(), s, true);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    CAPTURE(unit, took.count());
    CHECK(small()->decode(ids) == s);
    CHECK(took.count() < 20);  // about 0.3 s; quadratic would be minutes
  }
}

TEST_CASE("Text that is not trusted never becomes a special token") {
  const auto t = small();
  std::string all;
  for (const char* s :
       {kBosToken, kEosToken, kUserToken, kAssistantToken, kThinkToken, kEndThinkToken, kDsmlToken})
    all += s;
  for (const std::int32_t id : encode(*t, all)) {
    CHECK_FALSE(t->is_special(id));
    CHECK(id != t->think());
    CHECK(id != t->end_think());
    CHECK(id != t->find_special(kDsmlToken));
  }
  CHECK(t->decode(encode(*t, all)) == all);
  CHECK(encode(*t, all, true) ==
        std::vector<std::int32_t>{t->bos(), t->eos(), t->user(), t->assistant(), t->think(),
                                  t->end_think(), t->find_special(kDsmlToken)});
}

TEST_CASE("A special token counts only when it lies wholly inside a trusted range") {
  const auto t = small();
  const std::string s = std::string(kThinkToken) + kThinkToken + kThinkToken;  // 7 bytes each
  std::vector<std::int32_t> ids;
  t->encode(s, {{0, 6}, {7, 14}, {15, 21}}, ids);
  CHECK(std::count(ids.begin(), ids.end(), t->think()) == 1);
  CHECK(t->decode(ids) == s);
  // What is not cut is encoded with its neighbours, across the edge of a range.
  std::vector<std::int32_t> joined;
  t->encode("hello.\n\nWorld", {{6, 8}}, joined);
  CHECK(joined == encode(*t, "hello.\n\nWorld"));
}

TEST_CASE("Ids outside the vocabulary are refused") {
  const std::int32_t bad[] = {small()->size()};
  CHECK_THROWS_AS(small()->decode(bad), Error);
  CHECK_THROWS_AS(small()->token_bytes(-1), Error);
}

TEST_CASE("decode can leave special tokens out") {
  const std::int32_t ids[] = {small()->bos(), small()->user()};
  CHECK(small()->decode(ids).size() > 0);
  CHECK(small()->decode(ids, true).empty());
}

TEST_CASE("One tokenizer serves several threads with the same answer") {
  const auto t = Tokenizer::open(golden("tokenizer.json"));  // cold: whole_ is being filled
  const std::string text = read_text_file(golden("tokenizer.json"), 1u << 20);
  const auto want = encode(*small(), text);
  std::vector<std::vector<std::int32_t>> got(4);
  std::vector<std::thread> threads;
  for (auto& g : got) threads.emplace_back([&t, &text, &g] { t->encode(text, false, g); });
  for (std::thread& th : threads) th.join();
  for (const auto& g : got) CHECK(g == want);
}

TEST_CASE("The tokenizer for tiny models stays below 512") {
  const auto t = Tokenizer::open(golden("tokenizer_512.json"));
  CHECK(t->size() == 512);
  CHECK(t->decode(encode(*t, "Hello \xe4\xb8\x96\xe7\x95\x8c")) ==
        "Hello \xe4\xb8\x96\xe7\x95\x8c");
  CHECK(t->user() >= 0);
}

}  // namespace
}  // namespace v4i::tokenizer
