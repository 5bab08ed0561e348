// The alphabet of byte-level vocabularies (GPT-2's): every byte as a printable character.
#pragma once

#include <cstdint>

namespace v4i::tokenizer {

// Bytes that print in Latin-1 stand for themselves, the other 68 for U+0100 and on, in order.
constexpr char32_t byte_character(std::uint8_t byte) {
  if (byte <= 0x20) return char32_t{0x100} + byte;
  if (byte >= 0x7f && byte <= 0xa0) return char32_t{0x121} + (byte - 0x7fu);
  return byte == 0xad ? char32_t{0x143} : char32_t{byte};
}

}  // namespace v4i::tokenizer
