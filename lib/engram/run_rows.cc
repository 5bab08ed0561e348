// RunRows; see run_rows.h.
#include "lib/engram/run_rows.h"

#include <bit>

namespace v4i::engram {

namespace {

std::size_t index_entries(std::size_t rows) { return std::bit_ceil(2 * rows + 2); }

}  // namespace

RunRows::RunRows(Budget& budget, const RowForm& form, std::size_t layers, std::size_t most,
                 bool mapped)
    : left(layers),
      form_(form),
      most_(most),
      counted_(budget, mapped ? 0 : index_entries(layers * most) * KeyIndex::kEntryBytes,
               Use::kWeights, "an index of rows of Engram tables"),
      places_(budget, layers * most, Use::kWeights, "rows of Engram tables for one run"),
      rows_(budget, mapped ? 0 : layers * most, Use::kWeights, "rows of Engram tables for one run"),
      bytes_(budget, mapped ? 0 : layers * most * form.bytes(), Use::kWeights,
             "rows of Engram tables for one run") {
  if (!mapped) index_.resize(index_entries(layers * most));
}

std::uint64_t RunRows::needs(const RowForm& form, std::size_t layers, std::size_t most,
                             bool mapped) {
  const std::size_t rows = layers * most, places = rows * sizeof(std::uint32_t);
  if (mapped) return places;
  return places + index_entries(rows) * KeyIndex::kEntryBytes + rows * (sizeof(Row) + form.bytes());
}

void RunRows::clear() noexcept {
  places_in_use_ = 0;
  left.assign(left.size(), 0);
  // A token's rows are few, and a table for hundreds of them is large.
  const bool few = count_ * 16 < index_.entries();
  for (std::uint32_t n = 0; few && n < count_; ++n)
    index_.erase(key(n), [this](std::uint32_t i) { return key(i); });
  if (!few) index_.resize(index_.entries());
  count_ = 0;
}

std::uint32_t RunRows::find(std::size_t layer, std::int32_t row) const {
  return index_.find(key_of(layer, row), [this](std::uint32_t n) { return key(n); });
}

std::uint32_t RunRows::add(std::size_t layer, std::int32_t row, bool& is_new) {
  const std::uint32_t n = find(layer, row);
  is_new = n == KeyIndex::kNone;
  if (!is_new) return n;
  rows_[count_] = Row{};
  rows_[count_].row = row;
  rows_[count_].layer = static_cast<std::uint16_t>(layer);
  index_.insert(key_of(layer, row), count_);
  return count_++;
}

}  // namespace v4i::engram
