// Cutting image files into parts; see segments.h.
#include "tests/media/segments.h"

#include <algorithm>

#include "tests/support/png_file.h"

namespace v4i::media {

namespace {

std::uint32_t byte(const std::string& s, std::size_t at) {
  return static_cast<std::uint8_t>(s[at]);
}

std::uint32_t big(const std::string& s, std::size_t at) {
  return byte(s, at) << 24 | byte(s, at + 1) << 16 | byte(s, at + 2) << 8 | byte(s, at + 3);
}

std::uint32_t little(const std::string& s, std::size_t at) {
  return byte(s, at + 3) << 24 | byte(s, at + 2) << 16 | byte(s, at + 1) << 8 | byte(s, at);
}

void put_big(std::string& s, std::size_t at, std::uint32_t v) {
  for (std::size_t i = 0; i < 4; ++i) s[at + i] = static_cast<char>(v >> (24 - 8 * i));
}

void put_little(std::string& s, std::size_t at, std::uint32_t v) {
  for (std::size_t i = 0; i < 4; ++i) s[at + i] = static_cast<char>(v >> (8 * i));
}

bool is_png(const std::string& s) { return s.rfind("\x89PNG", 0) == 0; }
bool is_riff(const std::string& s) { return s.rfind("RIFF", 0) == 0; }

// The end of the JPEG part that begins at `at`: where the next marker is.
std::size_t next_marker(const std::string& s, std::size_t at) {
  for (std::size_t i = at + 2; i + 1 < s.size(); ++i) {
    const std::uint32_t code = byte(s, i + 1);
    if (byte(s, i) == 0xff && code != 0 && code != 0xff && (code < 0xd0 || code > 0xd7)) return i;
  }
  return s.size();
}

std::size_t jpeg_end(const std::string& s, std::size_t at) {
  if (s.size() - at < 4 || byte(s, at + 1) == 0xd8) return std::min(s.size(), at + 2);
  const std::size_t end = at + 2 + (byte(s, at + 2) << 8 | byte(s, at + 3));
  if (byte(s, at + 1) == 0xda || end > s.size()) return next_marker(s, at);
  return end;
}

std::size_t part_end(const std::string& s, std::size_t at) {
  const std::size_t left = s.size() - at;
  if (is_png(s)) {
    if (at == 0) return std::min<std::size_t>(8, s.size());
    return left < 12 || big(s, at) > left - 12 ? s.size() : at + 12 + big(s, at);
  }
  if (!is_riff(s)) return jpeg_end(s, at);
  if (at == 0) return std::min<std::size_t>(12, s.size());
  if (left < 8 || little(s, at + 4) > left - 8) return s.size();
  return std::min<std::size_t>(s.size(), at + 8 + little(s, at + 4) + little(s, at + 4) % 2);
}

}  // namespace

std::vector<std::string> parts_of(const std::string& file) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < file.size();) {
    const std::size_t end = part_end(file, at);
    parts.push_back(file.substr(at, end - at));
    at = end;
  }
  return parts;
}

std::string joined(std::vector<std::string> parts) {
  std::string all;
  const bool png = !parts.empty() && is_png(parts[0]);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::string& p = parts[i];
    if (png && i > 0 && p.size() >= 12) put_big(p, p.size() - 4, test::crc32(p, 4, p.size() - 4));
    all += p;
  }
  if (is_riff(all) && all.size() >= 8)
    put_little(all, 4, static_cast<std::uint32_t>(all.size() - 8));
  return all;
}

}  // namespace v4i::media
