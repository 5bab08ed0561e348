// Sequences with a history: KV rows and index keys that were never computed, in scattered blocks.
#pragma once

#include <vector>

#include "bench/cuda/meter.h"

namespace v4i::bench::cuda {

// Who the tokens of a launch are.
struct Company {
  int tokens = 1;
  std::int64_t context = 0;  // tokens before them
  bool one = false;          // of one sequence, one after the other; else a sequence each
  int sequences() const { return one ? 1 : tokens; }
};

// What kernels want to know of a run: its tokens, its sequences, where their blocks lie.
struct History {
  const kc::Token* tokens = nullptr;
  const kc::Sequence* sequences = nullptr;
  kc::BlockTable rows, keys;
};

// Memory for rows, keys and rings; the blocks of a sequence are drawn from all there are.
class Store {
 public:
  static constexpr int kRowsPerBlock = 64;

  explicit Store(Meter& m);

  // `ratio` tokens a row; 0: window only.  Every call draws other blocks.  `pinned` of ten blocks
  // of rows are in pinned memory of the host.
  History history(const Company& who, int ratio, int pinned = 0);
  std::int64_t ring_bytes() const { return ring_bytes_; }
  const std::uint8_t* staged() const { return rows_.data(); }  // rows of the run itself
  std::int64_t row_bytes() const { return row_bytes_; }

 private:
  kc::BlockTable blocks(const fc::DeviceBuffer& memory, int block_bytes, int row_bytes,
                        const Company& who, int ratio, int pinned);

  Meter& m_;
  int row_bytes_, key_bytes_;
  std::int64_t ring_bytes_;
  std::uint64_t drawn_ = 0;
  fc::DeviceBuffer rows_, keys_;
  fc::PinnedBuffer host_rows_;
};

}  // namespace v4i::bench::cuda
