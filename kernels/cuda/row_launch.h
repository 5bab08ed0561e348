// How kernels over rows of floats are started.
#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace v4i::kernels::cuda {

// Elementwise: a block takes kRowChannels channels of one row, a thread four of them.
constexpr int kRowThreads = 128;
constexpr int kRowChannels = 4 * kRowThreads;

inline Launch rows_launch(const char* kernel, std::int64_t rows, std::int64_t cols) {
  Launch l;
  l.kernel = kernel;
  l.x = static_cast<std::uint32_t>(rows);
  l.y = static_cast<std::uint32_t>(divide_up(cols, std::int64_t{kRowChannels}));
  l.threads = kRowThreads;
  return l;
}

// A row of a norm is kept in shared memory from one pass over it to the next, or, if it is longer
// than this, where its result goes.
constexpr std::int32_t kKeptChannels = 16384;

constexpr std::size_t row_shared_bytes(std::int32_t cols) {
  return cols <= kKeptChannels ? sizeof(float) * static_cast<std::size_t>(divide_up(cols, 4) * 4)
                               : 0;
}

}  // namespace v4i::kernels::cuda
