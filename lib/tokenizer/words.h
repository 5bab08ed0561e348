// WordScanner: the pre-tokenizer of the V3 / V4 / V4.1 family, without a regex engine.
//
// Three splits, each cutting the pieces of the one before ("isolated": matches and
// what lies between them are pieces of their own):
//   1. \p{N}{1,3}
//   2. runs of U+4E00-U+9FA5, U+3040-U+309F, U+30A0-U+30FF
//   3. ASCII punctuation + ASCII letters
//      | [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+ | ?[\p{P}\p{S}]+[\r\n]*
//      | \s*[\r\n]+ | \s+(?!\S) | \s+
// Source: field pre_tokenizer of the published tokenizer.json.  The exact patterns are
// in tokenizer_json.cc, which refuses any other.
//
// One thread at a time; keeps views of table and text.
#pragma once

#include <string_view>

#include "lib/tokenizer/unicode/char_class.h"

namespace v4i::tokenizer {

class WordScanner {
 public:
  WordScanner(const CharTable& table, std::string_view text) : table_(table), text_(text) {}

  // The next word; words are not empty and their concatenation is the text.
  // Linear in the text, whatever it holds.
  bool next(std::string_view& word);

 private:
  Char at(std::size_t i) const;  // kEnd where split 1 or 2 ends the piece
  std::size_t number(std::size_t from) const;
  std::size_t match(std::size_t from) const;  // end of split 3's match, `from` if none
  std::size_t letters(std::size_t from) const;
  std::size_t ascii_letters(std::size_t from) const;
  std::size_t punctuation(std::size_t from) const;
  std::size_t spaces(std::size_t from) const;

  const CharTable& table_;
  std::string_view text_;
  std::size_t pos_ = 0;
  std::uint8_t script_ = 0;  // kHanKana or 0: which kind of piece of split 2 we are in
};

}  // namespace v4i::tokenizer
