// A bit per group of rows and a count of those that are missing; see checked_rows.h.
#include "lib/model/checked_rows.h"

#include <algorithm>
#include <bit>

namespace v4i::model {

namespace {

std::int64_t groups_of(const loader::TensorInfo& t) {
  // Rows of n-gram tables are checked whenever they are read: there are hundreds of millions.
  const bool looked_up = t.name.ends_with(".engram.embed.weight");
  const std::int64_t rows = t.shape.size() == 2 && !looked_up ? t.shape[0] : 0;
  return (rows + CheckedRows::kGroup - 1) / CheckedRows::kGroup;
}

}  // namespace

CheckedRows::CheckedRows(const std::vector<loader::TensorInfo>& tensors)
    : left_(std::make_unique<std::atomic<std::uint32_t>[]>(tensors.size())) {
  first_word_.reserve(tensors.size());
  std::uint32_t words = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t groups = groups_of(tensors[i]);
    first_word_.push_back(words);
    left_[i].store(static_cast<std::uint32_t>(groups), std::memory_order_relaxed);
    words += static_cast<std::uint32_t>((groups + 63) / 64);
  }
  words_ = std::make_unique<std::atomic<std::uint64_t>[]>(words);
}

void CheckedRows::mark(std::int32_t tensor, std::int64_t begin, std::int64_t end,
                       std::int64_t rows) {
  if (all(tensor)) return;
  const auto i = static_cast<std::size_t>(tensor);
  std::int64_t g = (begin + kGroup - 1) / kGroup;
  const std::int64_t last = end == rows ? (end + kGroup - 1) / kGroup : end / kGroup;
  while (g < last) {
    const std::int64_t bit = g % 64, count = std::min(last - g, 64 - bit);
    const std::uint64_t ones = count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    const std::uint64_t mask = ones << bit;
    const std::size_t word = first_word_[i] + static_cast<std::size_t>(g / 64);
    const std::uint64_t before = words_[word].fetch_or(mask, std::memory_order_acq_rel);
    const int fresh = std::popcount(mask & ~before);
    if (fresh > 0) left_[i].fetch_sub(static_cast<std::uint32_t>(fresh), std::memory_order_acq_rel);
    g += count;
  }
}

}  // namespace v4i::model
