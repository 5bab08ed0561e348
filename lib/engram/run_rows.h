// RunRows: the rows that the tokens of a run select, each once.
//
// One thread at a time; reading what is whole: any.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/budget.h"
#include "lib/engram/key_index.h"
#include "lib/engram/row_form.h"

namespace v4i::engram {

class RunRows {
 public:
  // Room for `most` places in each of `layers`; with bytes of rows unless they are `mapped`.
  RunRows(Budget& budget, const RowForm& form, std::size_t layers, std::size_t most, bool mapped);
  // What that takes of the Budget.
  static std::uint64_t needs(const RowForm& form, std::size_t layers, std::size_t most,
                             bool mapped);

  struct Row {
    std::int32_t row = 0;
    std::uint16_t layer = 0;
    std::uint8_t parts = 0;  // that are there, a bit for each Part
    bool failed = false;
    Part failed_part = Part::kCodes;
    int error = 0;  // an errno, or 0 where the file has ended; no meaning for a whole row
  };

  void clear() noexcept;
  void set_places(std::size_t per_layer) { places_in_use_ = per_layer; }
  std::size_t places() const { return places_in_use_; }
  // The number of the row that the place has: of (layer, row), a new one where it is new.
  std::uint32_t add(std::size_t layer, std::int32_t row, bool& is_new);
  std::uint32_t find(std::size_t layer, std::int32_t row) const;

  std::uint32_t& place(std::size_t layer, std::size_t i) { return places_[layer * most_ + i]; }
  std::uint32_t place(std::size_t layer, std::size_t i) const { return places_[layer * most_ + i]; }
  Row& operator[](std::uint32_t n) { return rows_[n]; }
  const Row& operator[](std::uint32_t n) const { return rows_[n]; }
  std::byte* bytes(std::uint32_t n) { return bytes_.data() + n * form_.bytes(); }
  const std::byte* bytes(std::uint32_t n) const { return bytes_.data() + n * form_.bytes(); }

  std::vector<std::size_t> left;  // rows of each layer that are not there yet

 private:
  std::uint64_t key(std::uint32_t n) const { return key_of(rows_[n].layer, rows_[n].row); }

  RowForm form_;
  std::size_t most_, places_in_use_ = 0;
  std::uint32_t count_ = 0;
  Counted counted_;  // of the index
  Buffer<std::uint32_t> places_;
  Buffer<Row> rows_;
  Buffer<std::byte> bytes_;
  KeyIndex index_;
};

}  // namespace v4i::engram
