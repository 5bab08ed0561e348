// token_classes: a key for every token, and a number for every key; see token_classes.h.
#include "lib/tokenizer/token_classes.h"

#include <string>
#include <unordered_map>

#include "lib/tokenizer/byte_alphabet.h"
#include "lib/tokenizer/unicode/fold.h"
#include "lib/tokenizer/utf8.h"

namespace v4i::tokenizer {
namespace {

constexpr char32_t kReplacement = 0xfffd;

// The property White_Space: what the pre-tokenizer calls \s is the same set.
bool is_white(const CharTable& chars, char32_t c) {
  const std::uint8_t cls = chars.of(c) & kClassMask;
  return cls == kSpace || cls == kNewline;
}

// Runs of blanks, tabs and ends of lines become one blank.
std::u32string with_single_blanks(const std::u32string& text) {
  std::u32string out;
  for (const char32_t c : text) {
    const bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!blank)
      out += c;
    else if (out.empty() || out.back() != ' ')
      out += U' ';
  }
  return out;
}

class Keys {
 public:
  // `added`: the token stands in the vocabulary as it is, others in the alphabet of bytes.
  std::u32string of(std::string_view bytes, bool added) const {
    std::u32string text;
    bool whole = true;
    for (std::size_t i = 0; i < bytes.size();) {
      const Decoded d = decode_utf8(bytes.substr(i));
      whole = whole && d.valid && d.code_point != kReplacement;
      text += d.valid ? static_cast<char32_t>(d.code_point) : kReplacement;
      i += d.size;
    }
    if (!whole) return added ? text : spelled(bytes);
    std::u32string key = stripped(with_single_blanks(folded(text)));
    return key.empty() ? text : key;
  }

 private:
  std::u32string folded(const std::u32string& text) const {
    std::u32string out;
    for (const char32_t c : text) folds_.append(c, out);
    return out;
  }
  // A text that is one blank is kept.
  std::u32string stripped(const std::u32string& text) const {
    if (text == U" ") return text;
    std::size_t begin = 0, end = text.size();
    while (begin < end && is_white(chars_, text[begin])) ++begin;
    while (begin < end && is_white(chars_, text[end - 1])) --end;
    return text.substr(begin, end - begin);
  }
  // In the alphabet of byte-level vocabularies, where every byte is a printable character.
  static std::u32string spelled(std::string_view bytes) {
    std::u32string out;
    for (const char b : bytes) out += byte_character(static_cast<std::uint8_t>(b));
    return out;
  }

  Folds folds_;
  CharTable chars_;
};

}  // namespace

std::vector<std::int32_t> token_classes(const Tokenizer& tokenizer) {
  const Keys keys;
  std::unordered_map<std::u32string, std::int32_t> seen;
  std::vector<std::int32_t> out;
  std::int32_t classes = 0;
  for (std::int32_t id = 0; id < tokenizer.size(); ++id) {
    if (!tokenizer.has(id)) {
      out.push_back(classes++);
      continue;
    }
    const auto [it, fresh] =
        seen.emplace(keys.of(tokenizer.token_bytes(id), tokenizer.is_added(id)), classes);
    classes += fresh;
    out.push_back(it->second);
  }
  return out;
}

}  // namespace v4i::tokenizer
