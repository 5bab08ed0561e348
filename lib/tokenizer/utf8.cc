// UTF-8 decoding, table 3-7 of the Unicode standard written as code.
#include "lib/tokenizer/utf8.h"

#include <cstddef>

namespace v4i::tokenizer {
namespace {

constexpr char kReplacement[] = "\xef\xbf\xbd";  // U+FFFD

std::uint8_t byte_at(std::string_view s, std::size_t i) { return static_cast<std::uint8_t>(s[i]); }

// The allowed range of the second byte; it is what rules out overlong forms,
// surrogates and code points above U+10FFFF.
bool second_ok(std::uint8_t first, std::uint8_t second) {
  std::uint8_t low = 0x80, high = 0xbf;
  if (first == 0xe0) low = 0xa0;
  if (first == 0xed) high = 0x9f;
  if (first == 0xf0) low = 0x90;
  if (first == 0xf4) high = 0x8f;
  return second >= low && second <= high;
}

}  // namespace

Decoded decode_utf8(std::string_view text) {
  const std::uint8_t first = byte_at(text, 0);
  if (first < 0x80) return {first, 1, true, false};
  std::uint8_t want = 0;
  if (first >= 0xc2 && first <= 0xdf) want = 2;
  if (first >= 0xe0 && first <= 0xef) want = 3;
  if (first >= 0xf0 && first <= 0xf4) want = 4;
  if (want == 0) return {0, 1, false, false};
  std::uint32_t c = first & (0xffu >> (want + 1));
  for (std::uint8_t i = 1; i < want; ++i) {
    if (i >= text.size()) return {0, i, false, true};
    const std::uint8_t b = byte_at(text, i);
    const bool ok = i == 1 ? second_ok(first, b) : (b & 0xc0) == 0x80;
    if (!ok) return {0, i, false, false};
    c = c << 6 | (b & 0x3fu);
  }
  return {c, want, true, false};
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const Decoded d = decode_utf8(text.substr(i));
    if (!d.valid) return false;
    i += d.size;
  }
  return true;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  Utf8Stream stream;
  stream.push(text, out);
  stream.flush(out);
  return out;
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  std::string joined;
  if (!held_.empty()) {
    joined = held_ + std::string(bytes);
    held_.clear();
    bytes = joined;
  }
  for (std::size_t i = 0; i < bytes.size();) {
    const Decoded d = decode_utf8(bytes.substr(i));
    if (d.cut) {
      held_ = bytes.substr(i);
      return;
    }
    if (d.valid)
      out.append(bytes.substr(i, d.size));
    else
      out.append(kReplacement);
    i += d.size;
  }
}

void Utf8Stream::flush(std::string& out) {
  if (!held_.empty()) out.append(kReplacement);
  held_.clear();
}

}  // namespace v4i::tokenizer
