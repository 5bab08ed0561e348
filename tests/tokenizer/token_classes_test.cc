// Engram's classes of token ids: what make_classes.py finds with Python's Unicode.
#include "lib/tokenizer/token_classes.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/tokenizer/byte_alphabet.h"
#include "lib/tokenizer/unicode/fold.h"
#include "tests/support/catch.h"
#include "tests/tokenizer/vectors.h"

namespace v4i::tokenizer {
namespace {

using nlohmann::json;
using Classes = std::vector<std::int32_t>;

std::string digest(const Classes& classes) {
  Sha256 h;
  h.update(classes.data(), classes.size() * sizeof(classes[0]));
  return to_hex(h.finish());
}

std::int32_t count(const Classes& classes) {
  return *std::max_element(classes.begin(), classes.end()) + 1;
}

Classes first(Classes classes, std::size_t n) {
  classes.resize(n);
  return classes;
}

// The small tokenizer with another vocabulary, in the order of ids; behind it, from `bytes_at` on,
// those of the 256 bytes that it lacks.
std::shared_ptr<const Tokenizer> tokenizer_of(const std::vector<std::string>& tokens,
                                              const json& added, std::size_t bytes_at) {
  json file = json::parse(read_text_file(golden("tokenizer.json"), 1u << 24));
  file["model"]["vocab"] = json::object();
  json& vocab = file["model"]["vocab"];
  for (std::size_t i = 0; i < tokens.size(); ++i) vocab[tokens[i]] = i;
  for (int b = 0; b < 256; ++b) {
    const char32_t c = byte_character(static_cast<std::uint8_t>(b));
    std::string text;
    if (c >= 0x80) text += static_cast<char>(0xc0 | c >> 6);
    text += static_cast<char>(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
    if (!vocab.contains(text)) vocab[text] = bytes_at++;
  }
  file["model"]["merges"] = json::array();
  file["added_tokens"] = added;
  return Tokenizer::from_json(file.dump(), "small");
}

TEST_CASE("Every code point keeps what Unicode 16 leaves of it") {
  const Folds folds;
  Sha256 h;
  std::u32string line;
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    line.assign(1, static_cast<char32_t>(c));
    folds.append(c, line);
    line += U'\n';
    h.update(line.data(), line.size() * sizeof(line[0]));
  }
  CHECK(to_hex(h.finish()) == "36c4b00d1b661f22b2431a972cc74f0db33335063e723b5f872f314a1e6f39bd");
}

TEST_CASE("The small tokenizer has the classes that Python finds") {
  const Classes classes = token_classes(*Tokenizer::open(golden("tokenizer.json")));
  CHECK(classes.size() == 4096);
  CHECK(count(classes) == 3234);
  CHECK(digest(classes) == "df64cd7c670fd2e7da8ef1d9f25c330dd1c53848f269cdbdc375891472a88650");
}

TEST_CASE("The difficult tokens of V4's vocabulary have the classes that Python finds") {
  const json picked = json::parse(read_text_file(golden("class_tokens.json"), 1u << 24));
  const auto tokens = picked["tokens"].get<std::vector<std::string>>();
  const auto wanted = picked["classes"].get<Classes>();
  const Classes got = token_classes(*tokenizer_of(tokens, json::array(), tokens.size()));
  REQUIRE(got.size() >= wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CAPTURE(i, tokens[i]);
    REQUIRE(got[i] == wanted[i]);
  }
}

TEST_CASE("Ids without a token, and added tokens of another text, are alone in their class") {
  const json added = json::parse(
      R"([{"id": 4, "content": "<THINK>"}, {"id": 6, "content": "<think>"},
          {"id": 7, "content": "<end>"}, {"id": 8, "content": " A"}])");
  const auto t = tokenizer_of({"a", "\xc4\xa0\x61", "b"}, added, 9);
  CHECK_FALSE(t->has(3));
  CHECK_FALSE(t->has(5));
  CHECK(t->is_added(4));
  CHECK_FALSE(t->is_added(0));
  CHECK(first(token_classes(*t), 9) == Classes{0, 0, 1, 2, 3, 4, 3, 5, 0});
}

TEST_CASE("A token that is no text of its own is compared as it is spelled") {
  // The bytes e4 b8, alone and behind a blank; U+FFFD itself; a mark, a letter, both; blanks.
  const auto t =
      tokenizer_of({"\xc3\xa4\xc2\xb8", "\xc4\xa0\xc3\xa4\xc2\xb8", "\xc3\xaf\xc2\xbf\xc2\xbd",
                    "\xc3\x8c\xc4\xa3", "e", "e\xc3\x8c\xc4\xa3", "\xc4\xa0", "\xc4\xa0\xc4\xa0",
                    "\xc4\x8b", "\xc4\x8a"},
                   json::array(), 10);
  CHECK(first(token_classes(*t), 10) == Classes{0, 1, 2, 3, 4, 4, 5, 5, 6, 5});
}

TEST_CASE("The published tokenizer has the published map", "[.][published]") {
  const char* path = std::getenv("V4I_TOKENIZER");
  REQUIRE(path != nullptr);
  const Classes classes = token_classes(*Tokenizer::open(path));
  REQUIRE(classes.size() == 129280);
  CHECK(count(classes) == 99092);
  CHECK(digest(classes) == "c60a86322ec17b4142bfef3c57a8d81fb428550cdf487f88a4320cb59fe46481");
}

}  // namespace
}  // namespace v4i::tokenizer
