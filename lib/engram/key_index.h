// KeyIndex: numbers of rows, found by key; open addressing with linear probing.
//
// Holds numbers only: the owner says which key a number has, which keeps an entry at four bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace v4i::engram {

// Of (layer, row).
constexpr std::uint64_t key_of(std::size_t layer, std::int32_t row) {
  return static_cast<std::uint64_t>(layer) << 32 | static_cast<std::uint32_t>(row);
}

class KeyIndex {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr std::size_t kEntryBytes = sizeof(std::uint32_t);

  // At least twice as many entries as keys, a power of two; forgets everything.
  void resize(std::size_t entries) { table_.assign(entries, kNone); }
  std::size_t entries() const { return table_.size(); }

  template <class KeyOf>
  std::uint32_t find(std::uint64_t key, const KeyOf& key_of_number) const {
    std::size_t i = home(key);
    while (table_[i] != kNone && key_of_number(table_[i]) != key) i = next(i);
    return table_[i];
  }
  // REQUIRES: the key is not there.
  void insert(std::uint64_t key, std::uint32_t number) {
    std::size_t i = home(key);
    while (table_[i] != kNone) i = next(i);
    table_[i] = number;
  }
  // REQUIRES: the key is there.
  template <class KeyOf>
  void erase(std::uint64_t key, const KeyOf& key_of_number) {
    std::size_t hole = home(key);
    while (key_of_number(table_[hole]) != key) hole = next(hole);
    // What comes after moves up, unless that were before the place where its search begins.
    for (std::size_t i = next(hole); table_[i] != kNone; i = next(i))
      if (distance(home(key_of_number(table_[i])), i) >= distance(hole, i)) {
        table_[hole] = table_[i];
        hole = i;
      }
    table_[hole] = kNone;
  }

 private:
  std::size_t mask() const { return table_.size() - 1; }
  std::size_t next(std::size_t i) const { return (i + 1) & mask(); }
  std::size_t distance(std::size_t from, std::size_t to) const { return (to - from) & mask(); }
  std::size_t home(std::uint64_t key) const {
    const std::uint64_t h = key * 0x9e3779b97f4a7c15;
    return static_cast<std::size_t>(h ^ h >> 32) & mask();
  }
  std::vector<std::uint32_t> table_;
};

}  // namespace v4i::engram
