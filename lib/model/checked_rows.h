// CheckedRows: which rows of a checkpoint's matrices are known to hold numbers.
//
// Kept in groups of eight rows, a bit each, so that threads which check different rows, or the
// same rows twice, agree on when a matrix is done.  Any thread; allocates at construction only.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/loader/checkpoint.h"

namespace v4i::model {

class CheckedRows {
 public:
  static constexpr std::int64_t kGroup = 8;  // rows

  CheckedRows() = default;
  explicit CheckedRows(const std::vector<loader::TensorInfo>& tensors);

  // Every row of the tensor was checked: one load.
  bool all(std::int32_t tensor) const {
    return left_[static_cast<std::size_t>(tensor)].load(std::memory_order_acquire) == 0;
  }
  // Rows [begin, end) of `rows` hold numbers.  Only groups that lie whole in the range count.
  void mark(std::int32_t tensor, std::int64_t begin, std::int64_t end, std::int64_t rows);

 private:
  std::vector<std::uint32_t> first_word_;               // of each tensor, in words_
  std::unique_ptr<std::atomic<std::uint32_t>[]> left_;  // groups that are not marked yet
  std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
};

}  // namespace v4i::model
