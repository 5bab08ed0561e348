// Damage to image files; see image_damage.h.
#include "tests/media/image_damage.h"

#include <iterator>

#include "tests/media/segments.h"
#include "tests/support/mutator.h"

namespace v4i::media {

namespace {

using test::Mutator;

void flip(std::string& s, Mutator& m) {
  for (std::size_t i = 0; i <= m.below(8); ++i) m.flip_byte(s, 0, s.size());
}

// Lengths that a reader may add, multiply or allocate by.
void set_number(std::string& s, std::size_t at, std::size_t bytes, Mutator& m) {
  constexpr std::uint64_t kNumbers[] = {0,      1,      2,          0x7f,      0xff,
                                        0x7fff, 0xffff, 0x7fffffff, 0xffffffff};
  const std::uint64_t v = kNumbers[m.below(std::size(kNumbers))] + m.below(3) - 1;
  for (std::size_t i = 0; i < bytes && at + i < s.size(); ++i)
    s[at + i] = static_cast<char>(v >> (8 * (bytes - 1 - i)));
}

// The length of a part, which lies at its beginning (PNG) or behind its name.
void set_length(std::string& part, Mutator& m) {
  const bool jpeg = !part.empty() && static_cast<std::uint8_t>(part[0]) == 0xff;
  if (jpeg) return set_number(part, 2, 2, m);
  set_number(part, m.below(2) * 4, 4, m);
}

void change_parts(std::vector<std::string>& parts, Mutator& m) {
  const std::size_t a = m.below(parts.size()), b = m.below(parts.size());
  switch (m.below(6)) {
    case 0:
      return std::swap(parts[a], parts[b]);
    case 1:
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(a));
      return;
    case 2:
      parts.insert(parts.begin() + static_cast<std::ptrdiff_t>(b), std::string(parts[a]));
      return;
    case 3:
      return set_length(parts[a], m);
    case 4:  // a number inside, as a width or a count of colours
      return set_number(parts[a], 4 + m.below(20), 1 + m.below(4), m);
    default:
      return flip(parts[a], m);
  }
}

}  // namespace

std::string damaged(const std::string& file, std::uint64_t seed) {
  Mutator m(seed);
  std::string out = file;
  const std::size_t kind = m.below(5);
  if (kind == 0) {
    flip(out, m);
  } else if (kind == 1) {
    out.resize(m.below(out.size()));
  } else {  // mended checksums let a reader come further
    std::vector<std::string> parts = parts_of(file);
    for (std::size_t i = 0; i <= m.below(3) && !parts.empty(); ++i) change_parts(parts, m);
    out = joined(parts);
  }
  return out;
}

}  // namespace v4i::media
