// Counts this program's calls of operator new, and makes one fail on request.
#pragma once

#include <cstdint>

namespace v4i::test {

std::uint64_t allocations();
// The n-th plain operator new from now throws bad_alloc once; 0: none.
void fail_allocation(std::uint64_t n);

}  // namespace v4i::test
