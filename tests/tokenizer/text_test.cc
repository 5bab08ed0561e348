// The small parts: UTF-8, Python's JSON spelling, characters, words.
#include <cstdlib>
#include <cstring>
#include <random>

#include "lib/base/error.h"
#include "lib/tokenizer/json_value.h"
#include "lib/tokenizer/unicode/char_class.h"
#include "lib/tokenizer/utf8.h"
#include "lib/tokenizer/words.h"
#include "tests/support/catch.h"

namespace v4i::tokenizer {
namespace {

std::string utf8(std::uint32_t c) {
  std::string s;
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  if (c < 0x800) s += static_cast<char>(0xc0 | c >> 6);
  if (c >= 0x800 && c < 0x10000) s += static_cast<char>(0xe0 | c >> 12);
  if (c >= 0x10000) {
    s += static_cast<char>(0xf0 | c >> 18);
    s += static_cast<char>(0x80 | (c >> 12 & 0x3f));
  }
  if (c >= 0x800) s += static_cast<char>(0x80 | (c >> 6 & 0x3f));
  return s + static_cast<char>(0x80 | (c & 0x3f));
}

std::string streamed(std::string_view bytes, std::size_t piece) {
  Utf8Stream stream;
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += piece) {
    stream.push(bytes.substr(i, piece), out);
    REQUIRE(is_utf8(out));
  }
  stream.flush(out);
  return out;
}

TEST_CASE("Every code point decodes to itself, surrogates and beyond do not") {
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    const std::string s = utf8(c);
    const Decoded d = decode_utf8(s);
    const bool surrogate = c >= 0xd800 && c < 0xe000;
    if (d.valid == surrogate || (d.valid && (d.code_point != c || d.size != s.size()))) {
      CAPTURE(c);
      REQUIRE(false);
    }
  }
  for (const char* bad :
       {"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5", "\x80"})
    CHECK_FALSE(decode_utf8(bad).valid);
}

TEST_CASE("A stream gives valid UTF-8 at every point, however it is cut") {
  const std::string good = "a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80z";
  const std::string fffd = "\xef\xbf\xbd";
  for (const std::size_t piece : {1, 2, 3, 4, 5, 100}) {
    CHECK(streamed(good, piece) == good);
    CHECK(streamed("a\xf0\x9f\x98", piece) == "a" + fffd);  // one for the whole beginning
    CHECK(streamed("\xf0\x9f"
                   "b\xff\xc0\xaf",
                   piece) == fffd + "b" + fffd + fffd + fffd);
    CHECK(streamed("\xed\xa0\x80", piece) == fffd + fffd + fffd);
  }
  std::mt19937 rng(3);
  for (int i = 0; i < 2000; ++i) {
    std::string s(rng() % 20, '\0');
    for (char& c : s) c = "\x80\xbf\xc3\xe0\xed\xf0\xf4\x9f\x41\xff"[rng() % 10];
    CHECK(streamed(s, 1) == to_valid_utf8(s));
    CHECK(is_utf8(to_valid_utf8(s)));
  }
  Utf8Stream stream;
  std::string out;
  stream.push("\xe4\xb8", out);
  CHECK(out.empty());
  CHECK_FALSE(stream.empty());
}

TEST_CASE("JSON is written as Python writes it") {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"b\":1,\"a\":[true,false,null]}", "{\"b\": 1, \"a\": [true, false, null]}"},
      {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}"},
      {"[]", "[]"},
      {"{}", "{}"},
      {"[1.0,1e5,1E-5,0.0001,1e16,123456789.125,-0.0,5e-324,1.7976931348623157e308]",
       "[1.0, 100000.0, 1e-05, 0.0001, 1e+16, 123456789.125, -0.0, 5e-324, "
       "1.7976931348623157e+308]"},
      {"[9999999999999998.0,0.1,100,-7]", "[9999999999999998.0, 0.1, 100, -7]"},
      {"[123456789012345678901234567890,-99999999999999999999]",
       "[123456789012345678901234567890, -99999999999999999999]"},
      {"\"\\u0001\\u00e9\\/\\\"\\\\\\b\\f\\n\\r\\t\\u007f\"",
       "\"\\u0001\xc3\xa9/\\\"\\\\\\b\\f\\n\\r\\t\x7f\""},
  };
  for (const auto& [in, want] : cases) CHECK(python_dumps(parse_json(in, "j")) == want);
  std::mt19937_64 rng(5);
  for (int i = 0; i < 20000; ++i) {  // repr reads back as the same double
    const std::uint64_t bits = rng();
    double d;
    std::memcpy(&d, &bits, 8);
    if (d != d || d - d != 0) continue;
    CHECK(std::strtod(python_float(d).c_str(), nullptr) == d);
  }
}

TEST_CASE("JSON that is too deep, too wide or broken is refused") {
  CHECK_THROWS_AS(parse_json(std::string(65, '[') + std::string(65, ']'), "j"), Error);
  CHECK_NOTHROW(parse_json(std::string(64, '[') + std::string(64, ']'), "j"));
  CHECK_THROWS_AS(parse_json("[1,2,3]", "j", {.depth = 9, .values = 3}), Error);
  for (const char* bad :
       {"", "{", "[1,]", "nul", "\"\\ud800\"", "\"\xff\"", "[1] 2", "1e999", "NaN"}) {
    CAPTURE(bad);
    JsonValue v;
    CHECK_FALSE(try_parse_json(bad, v));
  }
}

TEST_CASE("The character classes count as Unicode 16.0 counts") {
  const CharTable table;
  std::size_t count[8] = {};
  std::size_t han_kana = 0;
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    ++count[table.of(c) & kClassMask];
    han_kana += (table.of(c) & kHanKana) != 0;
  }
  // As measured in the regex engine of Hugging Face tokenizers 0.23.3.
  CHECK(count[kLetter] == 141028);
  CHECK(count[kMark] == 2501);
  CHECK(count[kNumber] == 1911);
  CHECK(count[kPunct] == 855);
  CHECK(count[kSymbol] == 8514);
  CHECK(count[kSpace] + count[kNewline] == 25);
  CHECK(han_kana == 0x9fa5 - 0x4e00 + 1 + 0xc0);
}

TEST_CASE("Words are never empty and their concatenation is the text") {
  const CharTable table;
  std::mt19937 rng(11);
  for (int i = 0; i < 5000; ++i) {
    std::string s(rng() % 60, '\0');
    for (char& c : s)
      c = i % 3 == 0 ? static_cast<char>(rng())
                     : " \n\r\ta1!\xe4\xb8\xad\xcc\x81\xe3\x80"[rng() % 14];
    WordScanner words(table, s);
    std::string joined;
    for (std::string_view w; words.next(w); joined += w) REQUIRE_FALSE(w.empty());
    REQUIRE(joined == s);
  }
}

}  // namespace
}  // namespace v4i::tokenizer
