// AddedTokens: binary search, one byte deeper at a time.
#include "lib/tokenizer/added_tokens.h"

#include <algorithm>

namespace v4i::tokenizer {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.text < b.text; });
  for (const AddedToken& t : tokens_)
    if (t.special) special_.push_back(t.id);
  std::sort(special_.begin(), special_.end());
  raw_ = make_pass(false);
  normalized_ = make_pass(true);
}

AddedTokens::Pass AddedTokens::make_pass(bool normalized) const {
  Pass p;
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].normalized != normalized) continue;
    p.order.push_back(static_cast<std::uint32_t>(i));
    ++p.first[static_cast<std::uint8_t>(tokens_[i].text[0]) + 1u];
  }
  for (std::size_t b = 0; b < 256; ++b) p.first[b + 1] += p.first[b];
  return p;
}

std::int32_t AddedTokens::find(std::string_view text) const {
  const auto it =
      std::lower_bound(tokens_.begin(), tokens_.end(), text,
                       [](const AddedToken& t, std::string_view s) { return t.text < s; });
  return it != tokens_.end() && it->text == text ? it->id : -1;
}

bool AddedTokens::is_special(std::int32_t id) const {
  return std::binary_search(special_.begin(), special_.end(), id);
}

const AddedToken* AddedTokens::longest(const Pass& pass, std::string_view text) const {
  const auto first = static_cast<std::uint8_t>(text[0]);
  auto low = pass.order.begin() + pass.first[first];
  auto high = pass.order.begin() + pass.first[first + 1u];
  const AddedToken* best = nullptr;
  for (std::size_t depth = 1; low != high; ++depth) {
    // All of [low, high) agree with the text on `depth` bytes; the shortest comes first.
    if (tokens_[*low].text.size() == depth) best = &tokens_[*low++];
    if (depth == text.size()) break;
    const auto want = static_cast<std::uint8_t>(text[depth]);
    const auto byte = [&](std::uint32_t i) {
      return static_cast<std::uint8_t>(tokens_[i].text[depth]);
    };
    low = std::lower_bound(low, high, want,
                           [&](std::uint32_t i, std::uint8_t b) { return byte(i) < b; });
    high = std::upper_bound(low, high, want,
                            [&](std::uint8_t b, std::uint32_t i) { return b < byte(i); });
  }
  return best;
}

void AddedTokens::cut_range(const Pass& pass, std::string_view text, Range range,
                            std::vector<Cut>& out) const {
  for (std::size_t i = range.begin; i < range.end;) {
    const auto b = static_cast<std::uint8_t>(text[i]);
    const AddedToken* t = nullptr;
    if (pass.first[b] != pass.first[b + 1u]) t = longest(pass, text.substr(i, range.end - i));
    if (t == nullptr) {
      ++i;
      continue;
    }
    out.push_back({i, i + t->text.size(), t->id});
    i += t->text.size();
  }
}

std::vector<AddedTokens::Cut> AddedTokens::cut(std::string_view text,
                                               const std::vector<Range>& trusted) const {
  std::vector<Cut> out;
  for (const Range& r : trusted) cut_range(raw_, text, r, out);
  if (normalized_.order.empty()) return out;
  const std::size_t firsts = out.size();
  std::size_t next = 0;
  for (const Range& r : trusted) {
    std::size_t from = r.begin;
    for (; next < firsts && out[next].begin < r.end; ++next) {
      const Cut c = out[next];
      cut_range(normalized_, text, {from, c.begin}, out);
      from = c.end;
    }
    cut_range(normalized_, text, {from, r.end}, out);
  }
  std::sort(out.begin(), out.end(), [](const Cut& a, const Cut& b) { return a.begin < b.begin; });
  return out;
}

}  // namespace v4i::tokenizer
