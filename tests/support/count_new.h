// How often the heap was asked, for tests that claim "allocates nothing".  Only in
// programs with a .cc that includes tests/support/count_new.inc.
#pragma once

#include <cstddef>

namespace v4i::test {

// Allocations of all threads since the program began.
std::size_t count_new();

}  // namespace v4i::test
