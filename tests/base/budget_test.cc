// Memory behind a Buffer, small and large.
#include "lib/base/budget.h"

#include <algorithm>
#include <cstdint>

#include "tests/support/catch.h"

using namespace v4i;

TEST_CASE("a buffer of any size is aligned, zero, and given back", "[base]") {
  Budget budget;
  for (std::size_t n : {std::size_t{1}, std::size_t{1000}, (std::size_t{1} << 20) - 1,
                        std::size_t{1} << 20, (std::size_t{5} << 20) + 3}) {
    for (int again = 0; again < 2; ++again) {
      CAPTURE(n, again);
      Buffer<std::uint8_t> b(budget, n, Use::kScratch, "a test");
      CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % b.kAlign == 0);
      CHECK(std::all_of(b.begin(), b.end(), [](std::uint8_t x) { return x == 0; }));
      std::fill(b.begin(), b.end(), 7);
      CHECK(budget.used() == n);
    }
    CHECK(budget.used() == 0);
  }
}
