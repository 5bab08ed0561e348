// CharTable: what the pre-tokenizer's regexes ask about a character.
//
// The classes are \p{L} \p{M} \p{N} \p{P} \p{S} and \s as the regex engine of
// Hugging Face tokenizers sees them (Unicode 16.0); ranges.cc is generated.
//
// Immutable after construction; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace v4i::tokenizer {

enum CharClass : std::uint8_t {
  kOther = 0,  // controls, format characters, unassigned, private use, bytes that are not UTF-8
  kLetter = 1,
  kMark = 2,
  kNumber = 3,
  kPunct = 4,
  kSymbol = 5,
  kSpace = 6,    // \s except CR and LF
  kNewline = 7,  // CR, LF
  kEnd = 8,      // not a character: the end of the piece being split
};
inline constexpr std::uint8_t kClassMask = 0x0f;
// Added to the class of U+4E00-U+9FA5, U+3040-U+309F and U+30A0-U+30FF.
inline constexpr std::uint8_t kHanKana = 0x10;

namespace unicode {
extern const std::uint32_t kRuns[];  // first code point << 3 | class, ascending
extern const std::size_t kRunCount;
}  // namespace unicode

struct Char {
  std::uint8_t cls;   // CharClass, kHanKana added where it applies
  std::uint8_t size;  // bytes
};

class CharTable {
 public:
  CharTable();

  std::uint8_t of(std::uint32_t code_point) const {
    return pages_[static_cast<std::size_t>(index_[code_point >> 8]) << 8 | (code_point & 0xff)];
  }

  // The character at text[at], at < text.size().  A byte that does not begin a
  // valid UTF-8 sequence is one character of class kOther.
  Char at(std::string_view text, std::size_t at) const {
    const auto b = static_cast<std::uint8_t>(text[at]);
    if (b < 0x80) return {ascii_[b], 1};
    return wide(text, at);
  }

 private:
  Char wide(std::string_view text, std::size_t at) const;

  std::array<std::uint8_t, 128> ascii_{};
  std::array<std::uint16_t, 0x1100> index_{};  // page of 256 code points -> distinct page
  std::vector<std::uint8_t> pages_;
};

}  // namespace v4i::tokenizer
