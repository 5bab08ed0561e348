// WordScanner: one function per alternative of the third regex.
//
// Splits 1 and 2 depend on single characters only, so they need no pass of their
// own: at() reports kEnd wherever they would have cut.
#include "lib/tokenizer/words.h"

namespace v4i::tokenizer {
namespace {

bool is_word(std::uint8_t cls) { return cls == kLetter || cls == kMark; }
bool is_punct(std::uint8_t cls) { return cls == kPunct || cls == kSymbol; }
bool is_space(std::uint8_t cls) { return cls == kSpace || cls == kNewline; }
bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

}  // namespace

Char WordScanner::at(std::size_t i) const {
  if (i >= text_.size()) return {kEnd, 0};
  const Char c = table_.at(text_, i);
  const std::uint8_t cls = c.cls & kClassMask;
  if (cls == kNumber || (c.cls & kHanKana) != script_) return {kEnd, 0};
  return {cls, c.size};
}

bool WordScanner::next(std::string_view& word) {
  if (pos_ >= text_.size()) return false;
  const std::size_t from = pos_;
  const Char first = table_.at(text_, from);
  if ((first.cls & kClassMask) == kNumber) {
    pos_ = number(from);
  } else {
    script_ = first.cls & kHanKana;
    pos_ = match(from);
    // What no alternative matches stays together up to the next match.
    if (pos_ == from) {
      for (Char c = at(pos_); c.cls != kEnd && match(pos_) == pos_; c = at(pos_)) pos_ += c.size;
    }
  }
  word = text_.substr(from, pos_ - from);
  return true;
}

std::size_t WordScanner::number(std::size_t from) const {
  std::size_t i = from;
  for (int n = 0; n < 3 && i < text_.size(); ++n) {
    const Char c = table_.at(text_, i);
    if ((c.cls & kClassMask) != kNumber) break;
    i += c.size;
  }
  return i;
}

std::size_t WordScanner::match(std::size_t from) const {
  const Char c = at(from);
  const std::size_t after = from + c.size;
  if (is_word(c.cls)) return letters(from);
  if (is_punct(c.cls)) {
    // All 32 ASCII punctuation marks are \p{P} or \p{S}, and nothing else in ASCII is.
    if (c.size == 1 && after < text_.size() && is_ascii_letter(text_[after]))
      return ascii_letters(after);
    return punctuation(from);
  }
  if (c.cls == kOther || c.cls == kSpace) {
    if (is_word(at(after).cls)) return letters(after);
  }
  if (text_[from] == ' ' && is_punct(at(after).cls)) return punctuation(after);
  return is_space(c.cls) ? spaces(from) : from;
}

std::size_t WordScanner::letters(std::size_t from) const {
  std::size_t i = from;
  for (Char c = at(i); is_word(c.cls); c = at(i)) i += c.size;
  return i;
}

std::size_t WordScanner::ascii_letters(std::size_t from) const {
  std::size_t i = from;
  while (i < text_.size() && is_ascii_letter(text_[i])) ++i;
  return i;
}

std::size_t WordScanner::punctuation(std::size_t from) const {
  std::size_t i = from;
  for (Char c = at(i); is_punct(c.cls); c = at(i)) i += c.size;
  while (at(i).cls == kNewline) ++i;
  return i;
}

std::size_t WordScanner::spaces(std::size_t from) const {
  std::size_t i = from, last = from, newline_end = from;
  for (Char c = at(i); is_space(c.cls); c = at(i)) {
    last = i;
    i += c.size;
    if (c.cls == kNewline) newline_end = i;
  }
  if (newline_end != from) return newline_end;      // \s*[\r\n]+
  if (at(i).cls == kEnd || last == from) return i;  // \s+(?!\S) to the end, or one \s
  return last;                                      // \s+(?!\S) leaves one for the next word
}

}  // namespace v4i::tokenizer
