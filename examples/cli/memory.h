// What this process occupies, as Linux counts it; zeros where it does not.
#pragma once

#include <cstdint>

namespace cli {

struct MemoryUse {
  std::uint64_t peak_resident = 0;  // mapped files included
  std::uint64_t anonymous = 0;      // resident now, without files
};

MemoryUse memory_use();

}  // namespace cli
