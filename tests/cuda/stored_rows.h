// Sequences as kernels find them: tokens of a run, and rows in scattered blocks of exact size.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/cuda/types.h"
#include "tests/cuda/emulate/run.h"

namespace v4i::test {

// The tokens that a run has of one sequence: positions start, start + 1, ...
struct Span {
  int sequence = 0;
  std::int64_t start = 0, count = 0;
};

// In the order given; staged rows are numbered from 0.
inline std::vector<kernels::cuda::Token> tokens_of(const std::vector<Span>& spans) {
  std::vector<kernels::cuda::Token> tokens;
  for (const Span& s : spans) {
    for (std::int64_t i = 0; i < s.count; ++i) {
      kernels::cuda::Token t;
      t.position = s.start + i;
      t.start = s.start;
      t.sequence = s.sequence;
      t.row = static_cast<std::int32_t>(tokens.size());
      tokens.push_back(t);
    }
  }
  return tokens;
}

// Blocks of rows of several sequences; `rows` holds how many each sequence may have.
class StoredRows {
 public:
  StoredRows(const std::vector<std::int64_t>& rows, int rows_per_block, int row_bytes)
      : per_block_(rows_per_block), row_bytes_(row_bytes) {
    for (const std::int64_t n : rows) {
      first_.push_back(static_cast<std::int32_t>(blocks_.size()));
      for (std::int64_t r = 0; r < n; r += per_block_)
        blocks_.emplace_back(static_cast<std::size_t>(per_block_ * row_bytes_));
    }
    std::vector<std::uint8_t*> addresses;
    for (auto& b : blocks_) addresses.push_back(b.data());
    addresses_ = emulate::Buffer<std::uint8_t*>(addresses);
    device_first_ = emulate::Buffer<std::int32_t>(first_);
  }

  kernels::cuda::BlockTable table() const {
    return {addresses_.data(), device_first_.data(), per_block_, row_bytes_};
  }
  std::uint8_t* row(int sequence, std::int64_t r) {
    const std::size_t block =
        static_cast<std::size_t>(first_[static_cast<std::size_t>(sequence)] + r / per_block_);
    return blocks_[block].data() + r % per_block_ * row_bytes_;
  }
  void poison() {
    for (auto& b : blocks_) b.poison();
  }
  // Bytes of all rows, block by block.
  std::vector<std::uint8_t> bytes() const {
    std::vector<std::uint8_t> all;
    for (const auto& b : blocks_) all.insert(all.end(), b.begin(), b.end());
    return all;
  }

 private:
  int per_block_, row_bytes_;
  std::vector<emulate::Buffer<std::uint8_t>> blocks_;
  std::vector<std::int32_t> first_;
  emulate::Buffer<std::uint8_t*> addresses_;
  emulate::Buffer<std::int32_t> device_first_;
};

}  // namespace v4i::test
