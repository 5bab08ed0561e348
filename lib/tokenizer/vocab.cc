// Vocab: an arena and a hash table of ids.
#include "lib/tokenizer/vocab.h"

#include <bit>
#include <cstring>

#include "lib/base/error.h"

namespace v4i::tokenizer {
namespace {

// Eight bytes at a time; tokens are short, so speed is in the constant.
std::uint64_t hash_bytes(std::string_view s) {
  constexpr std::uint64_t kMul = 0x9e3779b97f4a7c15u;
  std::uint64_t h = s.size() * kMul;
  std::size_t i = 0;
  for (; i + 8 <= s.size(); i += 8) {
    std::uint64_t w;
    std::memcpy(&w, s.data() + i, 8);
    h = std::rotl((h ^ w) * kMul, 29);
  }
  std::uint64_t tail = 0;
  for (; i < s.size(); ++i) tail = tail << 8 | static_cast<std::uint8_t>(s[i]);
  h = (h ^ tail) * kMul;
  return h ^ h >> 32;
}

}  // namespace

void Vocab::add(std::int32_t id, std::string_view bytes, bool searchable) {
  V4I_CHECK(id >= 0 && id <= kMaxId && !has(id));
  V4I_CHECK(arena_.size() + bytes.size() <= 0xffffffffu);
  if (id >= size()) entries_.resize(static_cast<std::size_t>(id) + 1);
  entries_[id] = {static_cast<std::uint32_t>(arena_.size()),
                  static_cast<std::uint32_t>(bytes.size()), true, searchable};
  arena_.append(bytes);
}

void Vocab::build_index() {
  std::size_t count = 0;
  for (const Entry& e : entries_) count += e.searchable;
  slots_.assign(std::bit_ceil(count * 2 + 2), -1);
  const std::size_t mask = slots_.size() - 1;
  for (std::int32_t id = 0; id < size(); ++id) {
    if (!entries_[id].searchable) continue;
    std::size_t i = hash_bytes(bytes(id)) & mask;
    while (slots_[i] >= 0) i = (i + 1) & mask;
    slots_[i] = id;
  }
}

std::int32_t Vocab::find(std::string_view wanted) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash_bytes(wanted) & mask;
  while (slots_[i] >= 0 && bytes(slots_[i]) != wanted) i = (i + 1) & mask;
  return slots_[i];
}

}  // namespace v4i::tokenizer
