// PNG files for tests, made without a codec.
#pragma once

#include <cstdint>
#include <string>

namespace v4i::test {

// The checksum of a PNG's chunks, over bytes [from, to).
std::uint32_t crc32(const std::string& s, std::size_t from, std::size_t to);
// RGB8 pixels, rows side by side, as a PNG that is not compressed.
std::string png_of(const std::uint8_t* rgb, std::uint32_t width, std::uint32_t height);
// One that says it has that size, and has no pixels.
std::string empty_png(std::uint32_t width, std::uint32_t height);

}  // namespace v4i::test
