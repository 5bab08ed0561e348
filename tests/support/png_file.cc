// Chunks and stored blocks; see png_file.h.
#include "tests/support/png_file.h"

#include <algorithm>

namespace v4i::test {

namespace {

std::string big(std::uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

std::string chunk(const std::string& name, const std::string& data) {
  const std::string body = name + data;
  return big(static_cast<std::uint32_t>(data.size())) + body + big(crc32(body, 0, body.size()));
}

// zlib's form, in blocks that are stored as they are.
std::string stored(const std::string& data) {
  constexpr std::size_t kMost = 65535;
  std::string out = "\x78\x01";
  std::uint32_t a = 1, b = 0;  // Adler-32
  for (const char c : data) {
    a = (a + static_cast<std::uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  for (std::size_t at = 0; at == 0 || at < data.size(); at += kMost) {
    const std::size_t n = std::min(kMost, data.size() - at);
    out += at + n == data.size() ? '\1' : '\0';
    for (const std::size_t v : {n, n ^ kMost}) {
      out += static_cast<char>(v & 255);
      out += static_cast<char>(v >> 8);
    }
    out += data.substr(at, n);
  }
  return out + big(b << 16 | a);
}

std::string png(std::uint32_t width, std::uint32_t height, const std::string& rows) {
  const std::string header = big(width) + big(height) + std::string("\x08\x02\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", stored(rows)) +
         chunk("IEND", "");
}

}  // namespace

std::uint32_t crc32(const std::string& s, std::size_t from, std::size_t to) {
  std::uint32_t c = ~0u;
  for (std::size_t i = from; i < to; ++i) {
    c ^= static_cast<std::uint8_t>(s[i]);
    for (int k = 0; k < 8; ++k) c = c >> 1 ^ ((c & 1) != 0 ? 0xedb88320u : 0);
  }
  return ~c;
}

std::string png_of(const std::uint8_t* rgb, std::uint32_t width, std::uint32_t height) {
  std::string rows;
  for (std::size_t y = 0; y < height; ++y) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(rgb) + 3 * width * y, std::size_t{3} * width);
  }
  return png(width, height, rows);
}

std::string empty_png(std::uint32_t width, std::uint32_t height) { return png(width, height, ""); }

}  // namespace v4i::test
