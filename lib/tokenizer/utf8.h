// UTF-8: strict decoding of one character, and a stream that never shows half of one.
//
// Any thread; a Utf8Stream belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace v4i::tokenizer {

struct Decoded {
  std::uint32_t code_point;
  std::uint8_t size;  // bytes used when valid; when not: bytes to replace by one U+FFFD
  bool valid;
  bool cut;  // not valid, but more bytes could make it so
};

// The first character of `text`, which is not empty.  Overlong forms, surrogates and
// code points above U+10FFFF are not valid.  `size` of an invalid start is the longest
// prefix of a valid sequence (Unicode 16, section 3.9, substitution of maximal subparts).
Decoded decode_utf8(std::string_view text);

bool is_utf8(std::string_view text);

// Every maximal invalid part becomes U+FFFD.
std::string to_valid_utf8(std::string_view text);

// Turns the bytes of tokens, which may end inside a character, into text that is
// valid UTF-8 at every point.
class Utf8Stream {
 public:
  // Appends to `out` what is complete; keeps back at most 3 bytes.
  void push(std::string_view bytes, std::string& out);
  // No more bytes will come: an unfinished character becomes U+FFFD.
  void flush(std::string& out);
  bool empty() const { return held_.empty(); }

 private:
  std::string held_;  // the beginning of a character
};

}  // namespace v4i::tokenizer
