// Weight: a matrix of a checkpoint, where it lies and in which form.  Spec 1.3.
//
// The one type for it: lib/model binds it, experts are handed out as three of it, kernels
// multiply with it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace v4i {

enum class WeightFormat { kF32, kBF16, kFp8, kFp4 };

// W of y = W x, row-major [rows, cols].  Pointers may be unaligned, and are addresses in the
// place of the backend that multiplies.
//   kF32, kBF16  scale is null
//   kFp8         e4m3 codes; scale [ceil(rows / block_rows)][ceil(cols / block_cols)] ue8m0
//   kFp4         cols / 2 bytes a row, low nibble first; scale [rows][cols / 32] ue8m0
struct Weight {
  WeightFormat format = WeightFormat::kBF16;
  std::int64_t rows = 0, cols = 0;
  const void* data = nullptr;
  const std::uint8_t* scale = nullptr;
  int block_rows = 0, block_cols = 0;
  std::int32_t tensor = -1;  // index in the Checkpoint's table, for checks and messages

  bool present() const { return rows > 0; }
  std::size_t data_bytes() const;   // of the weight tensor
  std::size_t scale_bytes() const;  // 0 without scales
};

}  // namespace v4i
