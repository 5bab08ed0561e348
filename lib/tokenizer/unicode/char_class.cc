// CharTable: the runs of ranges.cc, unfolded into pages of 256; equal pages are shared.
#include "lib/tokenizer/unicode/char_class.h"

#include <map>
#include <string>

#include "lib/tokenizer/utf8.h"

namespace v4i::tokenizer {
namespace {

constexpr std::uint32_t kCodePoints = 0x110000;

bool is_han_or_kana(std::uint32_t c) {
  return (c >= 0x4e00 && c <= 0x9fa5) || (c >= 0x3040 && c <= 0x30ff);
}

}  // namespace

CharTable::CharTable() {
  std::map<std::string, std::uint16_t> seen;
  std::string page(256, '\0');
  std::size_t run = 0;
  for (std::uint32_t c = 0; c < kCodePoints; ++c) {
    while (run + 1 < unicode::kRunCount && unicode::kRuns[run + 1] >> 3 <= c) ++run;
    auto cls = static_cast<std::uint8_t>(unicode::kRuns[run] & 7);
    if (is_han_or_kana(c)) cls |= kHanKana;
    page[c & 0xff] = static_cast<char>(cls);
    if ((c & 0xff) != 0xff) continue;
    const auto [it, fresh] = seen.emplace(page, static_cast<std::uint16_t>(seen.size()));
    if (fresh) pages_.insert(pages_.end(), page.begin(), page.end());
    index_[c >> 8] = it->second;
  }
  for (std::uint32_t c = 0; c < 128; ++c) ascii_[c] = of(c);
}

Char CharTable::wide(std::string_view text, std::size_t at) const {
  const Decoded d = decode_utf8(text.substr(at));
  if (!d.valid) return {kOther, 1};
  return {of(d.code_point), d.size};
}

}  // namespace v4i::tokenizer
