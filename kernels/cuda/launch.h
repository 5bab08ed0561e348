// How a kernel is started.  Plain C++: the executor includes it, and so do the kernels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace v4i::kernels::cuda {

struct Launch {
  const char* kernel = nullptr;       // its name in the cubin; null: nothing to do
  std::uint32_t x = 1, y = 1, z = 1;  // blocks
  std::uint32_t threads = 1;          // of a block
  std::size_t shared = 0;             // bytes of dynamic shared memory
};

template <class T>
constexpr T divide_up(T n, T by) {
  return (n + by - 1) / by;
}

}  // namespace v4i::kernels::cuda
