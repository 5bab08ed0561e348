// Folds: unpacks folds.cc and looks code points up in it.
#include "lib/tokenizer/unicode/fold.h"

#include <algorithm>

namespace v4i::tokenizer {
namespace {

// Numbers as make_folds.py writes them.
class Numbers {
 public:
  explicit Numbers(const char* text) : at_(text) {}
  bool more() const { return *at_ != '\0'; }
  std::uint32_t next() {
    std::uint32_t n = 0;
    for (int shift = 0;; shift += 5) {
      const std::uint32_t d = digit(*at_++);
      n |= (d & 31) << shift;
      if (d < 32) return n;
    }
  }
  // Differences wrap around, as unsigned numbers do.
  std::uint32_t next_signed() {
    const std::uint32_t n = next();
    return (n & 1) != 0 ? ~(n >> 1) : n >> 1;
  }

 private:
  static std::uint32_t digit(char c) {
    if (c >= 'A' && c <= 'Z') return static_cast<std::uint32_t>(c - 'A');
    if (c >= 'a' && c <= 'z') return static_cast<std::uint32_t>(c - 'a') + 26;
    if (c >= '0' && c <= '9') return static_cast<std::uint32_t>(c - '0') + 52;
    return c == '+' ? 62 : 63;
  }
  const char* at_;
};

// Unicode 16, section 3.12: a syllable is a leading consonant, a vowel and maybe a trailing one.
bool append_hangul(std::uint32_t c, std::u32string& out) {
  constexpr std::uint32_t kFirst = 0xac00, kLast = 0xd7a3, kTrailing = 28, kVowels = 21;
  if (c < kFirst || c > kLast) return false;
  const std::uint32_t s = c - kFirst;
  out += static_cast<char32_t>(0x1100 + s / (kVowels * kTrailing));
  out += static_cast<char32_t>(0x1161 + s / kTrailing % kVowels);
  if (s % kTrailing != 0) out += static_cast<char32_t>(0x11a7 + s % kTrailing);
  return true;
}

// The last of `list` that begins at or before `c`, or its end.
template <class List, class Key>
auto last_not_after(const List& list, std::uint32_t c, Key key) {
  const auto after = std::upper_bound(list.begin(), list.end(), c,
                                      [&](std::uint32_t x, const auto& e) { return x < key(e); });
  return after == list.begin() ? list.end() : after - 1;
}

}  // namespace

Folds::Folds() {
  std::uint32_t at = 0;
  for (Numbers n(unicode::kFoldRuns); n.more();) {
    Run r;
    r.first = at + n.next();
    const std::uint32_t form = n.next();
    r.count = form / 6 + 1;
    r.stride = form / 3 % 2 + 1;
    r.step = form % 3;
    r.target = r.first + n.next_signed();
    at = r.first + (r.count - 1) * r.stride;
    runs_.push_back(r);
  }
  at = 0;
  std::uint32_t before = 0;
  for (Numbers n(unicode::kFoldSequences); n.more();) {
    at += n.next();
    sequences_.push_back({at, static_cast<std::uint32_t>(pool_.size()), n.next()});
    for (std::uint32_t i = 0; i < sequences_.back().size; ++i)
      pool_ += static_cast<char32_t>(before += n.next_signed());
  }
}

bool Folds::append_run(std::uint32_t c, std::u32string& out) const {
  const auto r = last_not_after(runs_, c, [](const Run& e) { return e.first; });
  if (r == runs_.end() || (c - r->first) % r->stride != 0) return false;
  const std::uint32_t i = (c - r->first) / r->stride;
  if (i >= r->count) return false;
  out += static_cast<char32_t>(r->target + i * r->step);
  return true;
}

bool Folds::append_sequence(std::uint32_t c, std::u32string& out) const {
  const auto s = last_not_after(sequences_, c, [](const Sequence& e) { return e.code_point; });
  if (s == sequences_.end() || s->code_point != c) return false;
  out.append(pool_, s->begin, s->size);
  return true;
}

void Folds::append(std::uint32_t code_point, std::u32string& out) const {
  if (code_point < 0x80) {
    const bool upper = code_point >= 'A' && code_point <= 'Z';
    out += static_cast<char32_t>(upper ? code_point + 32 : code_point);
    return;
  }
  if (append_run(code_point, out) || append_sequence(code_point, out)) return;
  if (append_hangul(code_point, out)) return;
  if ((chars_.of(code_point) & kClassMask) != kMark) out += static_cast<char32_t>(code_point);
}

}  // namespace v4i::tokenizer
