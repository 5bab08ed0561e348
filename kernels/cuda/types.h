// What the kernels of all families share: matrices, tokens, sequences, tables of KV blocks, as they
// lie in device memory.  Plain C++.
//
// What changes from one decode step to the next is in memory that kernels read (Token, Sequence,
// BlockTable), never in a kernel's arguments: a captured graph stays valid from step to step.
#pragma once

#include <cstdint>

#include "lib/tensor/weight.h"

namespace v4i::kernels::cuda {

// W of y = W x on the device.  Rows lie `row_bytes` apart, a multiple of 64; the bytes of a row
// behind its last column are zero, and so are the codes of that column's byte that stand for none;
// `data` is aligned to 64.  Scales as in Weight, tight: [ceil(rows / block_rows)][scale_cols].
struct Matrix {
  const std::uint8_t* data = nullptr;
  const std::uint8_t* scale = nullptr;
  std::int64_t row_bytes = 0;
  std::int32_t format = 0;  // WeightFormat
  std::int32_t rows = 0, cols = 0;
  std::int32_t block_rows = 0, block_cols = 0, scale_cols = 0;
};

constexpr std::int64_t matrix_row_bytes(WeightFormat format, std::int64_t cols) {
  const std::int64_t bits = format == WeightFormat::kF32    ? 32
                            : format == WeightFormat::kBF16 ? 16
                            : format == WeightFormat::kFp8  ? 8
                                                            : 4;
  return (cols * bits / 8 + 63) / 64 * 64;
}

// The shape and form of a weight on the device; the pointers are still to be set.
constexpr Matrix matrix_shape(const Weight& w) {
  Matrix m;
  m.row_bytes = matrix_row_bytes(w.format, w.cols);
  m.format = static_cast<std::int32_t>(w.format);
  m.rows = static_cast<std::int32_t>(w.rows);
  m.cols = static_cast<std::int32_t>(w.cols);
  m.block_rows = w.block_rows;
  m.block_cols = w.block_cols;
  if (w.block_cols > 0)
    m.scale_cols = static_cast<std::int32_t>((w.cols + w.block_cols - 1) / w.block_cols);
  return m;
}

// A token of the run.
struct Token {
  std::int64_t position = 0;  // in its sequence
  std::int64_t start = 0;     // position of the sequence's first token of this run
  std::int32_t id = 0;        // vocabulary
  std::int32_t sequence = 0;  // index among the run's Sequences
  std::int32_t row = 0;       // index among all tokens of the run: of its staged rows
  std::int32_t role = 0;      // router bias; 0: text
};

// A sequence of the run: its fixed state (windows and partial compressor states of all layers).
struct Sequence {
  const std::uint8_t* fixed = nullptr;  // as earlier runs left it
  std::uint8_t* written = nullptr;      // where this run's rows go; may be `fixed`
  std::int64_t start = 0;               // position of its first token of this run
  std::int32_t first = 0, count = 0;    // its tokens among those of the run
};

// The blocks of one kind of row (main rows, index keys) of one layer, of all sequences of the run.
// Row r of sequence s lies at block[first[s] + r / rows_per_block] + r % rows_per_block *
// row_bytes.
struct BlockTable {
  std::uint8_t* const* block = nullptr;
  const std::int32_t* first = nullptr;
  std::int32_t rows_per_block = 0;
  std::int32_t row_bytes = 0;
};

}  // namespace v4i::kernels::cuda
