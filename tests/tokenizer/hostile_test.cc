// tokenizer.json is hostile input: every refusal is a sentence, nothing crashes.
#include <random>

#include "lib/base/file.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/support/catch.h"
#include "tests/tokenizer/vectors.h"

namespace v4i::tokenizer {
namespace {

std::string base() { return read_text_file(golden("tokenizer_512.json"), 1u << 20); }

std::string replaced(const std::string& from, const std::string& to) {
  std::string s = base();
  const std::size_t i = s.find(from);
  if (i == std::string::npos) fail(Code::kInternal, "{} is not in the file", from);
  return s.replace(i, from.size(), to);
}

TEST_CASE("What is wrong with a tokenizer.json is said in one sentence") {
  struct Case {
    std::string json, want;
    Code code;
  };
  const Case cases[] = {
      {"", "t.json is not valid JSON", Code::kFormat},
      {"[]", "the file is an array", Code::kFormat},
      {"{}", "model is missing", Code::kFormat},
      {std::string(1 << 20, '['), "nested deeper", Code::kFormat},
      {replaced("\"BPE\"", "\"Unigram\""), "only BPE", Code::kUnsupported},
      {replaced("\"dropout\":null", "\"dropout\":0.5"), "model.dropout", Code::kUnsupported},
      {replaced("\"byte_fallback\":false", "\"byte_fallback\":true"), "byte_fallback",
       Code::kUnsupported},
      {replaced("\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}"), "normalizer",
       Code::kUnsupported},
      {replaced("{1,3}", "{1,4}"), "step 0 has the pattern", Code::kUnsupported},
      {replaced("|\\\\s+\"", "|\\\\s*\""), "step 2 has the pattern", Code::kUnsupported},
      {replaced("\"Isolated\"", "\"Removed\""), "does not isolate", Code::kUnsupported},
      {replaced("\"type\":\"Sequence\"", "\"type\":\"ByteLevel\""), "pre_tokenizer is ByteLevel",
       Code::kUnsupported},
      {replaced("\"add_prefix_space\":false", "\"add_prefix_space\":true"), "prefix space",
       Code::kUnsupported},
      {replaced("\"lstrip\":false", "\"lstrip\":true"), "lstrip", Code::kUnsupported},
      {replaced("\"special\":true", "\"special\":1"), "special is an integer", Code::kFormat},
      {replaced("\"content\":\"<think>\"", "\"content\":\"</think>\""), "listed twice",
       Code::kFormat},
      {replaced("\"content\":\"<think>\"", "\"content\":\"\""), "bytes long", Code::kFormat},
      {replaced("\"id\":509", "\"id\":508"), "share the id 508", Code::kFormat},
      {replaced("\"!\":3", "\"!\":4"), "id 4 belongs to", Code::kFormat},
      {replaced("\"!\":3", "\"!\":-1"), "has the id -1", Code::kFormat},
      {replaced("\"!\":3", "\"!\":99999999999999999999"), "has the id 99999", Code::kFormat},
      {replaced("\"!\":3", "\"!\":3.0"), "has the id 3.0", Code::kFormat},
      {replaced("\"!\":3", "\"!\":\"3\""), "has the id \"3\"", Code::kFormat},
      {replaced("\"\xc3\xbf\":", "\"\xc3\xbf!!\":"), "no token for byte 0xff", Code::kFormat},
      {replaced("\"merges\":[", "\"merges\":[[\"zz\",\"qq\"],"), "not in the vocabulary",
       Code::kFormat},
      {replaced("\"merges\":[", "\"merges\":[\"a b c\","), "merge 0 is", Code::kFormat},
      {replaced("\"merges\":[", "\"merges\":[[\"a\"],"), "merge 0 is", Code::kFormat},
      {replaced("\"merges\":[", "\"merges\":[7,"), "merge 0 is 7", Code::kFormat},
      {replaced("\"merges\":[", "\"merges\":{},\"x\":["), "merges is an object", Code::kFormat},
      {replaced("\"vocab\":{", "\"vocab\":[],\"x\":{"), "vocab is an array", Code::kFormat},
  };
  for (const Case& c : cases) {
    try {
      Tokenizer::from_json(c.json, "t.json");
      CAPTURE(c.want);
      CHECK(false);
    } catch (const Error& e) {
      CHECK_THAT(e.text(), Catch::StartsWith("t.json"));
      CHECK_THAT(e.text(), Catch::Contains(c.want));
      CHECK(e.code() == c.code);
      CHECK(e.text().size() < 2000);
    }
  }
  CHECK_THROWS_AS(Tokenizer::open("/nowhere/tokenizer.json"), Error);
}

TEST_CASE("Merges as strings and merges as pairs mean the same") {
  std::string s = base();
  std::string out = s.substr(0, s.find("\"merges\":["));
  const std::string merges = s.substr(out.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (merges.compare(i, 2, "[\"") == 0 && i > 9)
      out += "\"", ++i;
    else if (merges.compare(i, 3, "\",\"") == 0)
      out += " ", i += 2;
    else if (merges.compare(i, 2, "\"]") == 0)
      out += "\"", ++i;
    else
      out += merges[i];
  }
  REQUIRE(out != s);
  const auto pairs = Tokenizer::from_json(s, "pairs"),
             strings = Tokenizer::from_json(out, "strings");
  std::vector<std::int32_t> a, b;
  pairs->encode("The quick brown fox (42) returns std::vector", false, a);
  strings->encode("The quick brown fox (42) returns std::vector", false, b);
  CHECK(a == b);
}

// One to four random edits: a byte, a cut, a doubled or a moved piece, a number, a token.
std::string mutate(std::string s, std::mt19937& rng) {
  const char* pieces[] = {"null", "[]", "{}", "-1", "1e999", "\"\"", "4194304", "\\ud800", "true"};
  for (unsigned n = 1 + rng() % 4; n > 0 && !s.empty(); --n) {
    const std::size_t at = rng() % s.size(), size = rng() % 40;
    switch (rng() % 6) {
      case 0:
        s[at] = static_cast<char>(rng());
        break;
      case 1:
        s.erase(at, size);
        break;
      case 2:
        s.insert(rng() % s.size(), s.substr(at, size));
        break;
      case 3:
        s.insert(at, pieces[rng() % 9]);
        break;
      case 4:
        s.replace(at, size, pieces[rng() % 9]);
        break;
      case 5:
        for (std::size_t i = at; i < s.size() && i < at + 200; ++i)
          if (s[i] >= '0' && s[i] <= '9') {
            s[i] = static_cast<char>('0' + rng() % 10);
            break;
          }
    }
  }
  return s;
}

TEST_CASE("A thousand damaged tokenizers are refused with a sentence or work") {
  const std::string good = base();
  std::mt19937 rng(7);
  int refused = 0, loaded = 0;
  for (int i = 0; i < 1000; ++i) {
    // Half of the edits fall into the part before the vocabulary, where the structure is.
    const std::size_t head = good.find("\"vocab\"");
    const std::string bad =
        i % 2 != 0 ? mutate(good, rng) : mutate(good.substr(0, head), rng) + good.substr(head);
    try {
      const auto t = Tokenizer::from_json(bad, "t.json");
      std::vector<std::int32_t> ids;
      t->encode("any text, <think> 12345 \xe4\xb8\xad\xff", true, ids);
      CHECK(t->decode(ids).size() > 0);
      ++loaded;
    } catch (const Error& e) {
      CHECK_THAT(e.text(), Catch::StartsWith("t.json"));
      CHECK(e.code() != Code::kInternal);
      ++refused;
    }
  }
  CHECK(refused + loaded == 1000);
  CHECK(refused > 100);
  CHECK(loaded > 10);
}

}  // namespace
}  // namespace v4i::tokenizer
