// The caller's floating-point environment: set aside for a call, given back in callbacks and after.
#include "lib/base/float_environment.h"

#include <cfenv>

#include "tests/support/catch.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i;

namespace {

// 1/3 in the rounding that the processor is in.
float third() {
  volatile float one = 1, three = 3;
  return one / three;
}

struct Restore {
  std::fenv_t before;
  Restore() { std::fegetenv(&before); }
  ~Restore() { std::fesetenv(&before); }
};

}  // namespace

TEST_CASE("a call computes in the default environment and returns the caller's", "[base]") {
  const Restore restore;
  const float nearest = third();
  for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST}) {
    const test::FlushToZero flush;
    std::fesetround(mode);
    const float before = third();
    {
      const DefaultFloats call;
      CHECK(std::fegetround() == FE_TONEAREST);
      CHECK(third() == nearest);
      CHECK(!test::FlushToZero::happens());
      {
        const HostFloats callback;
        CHECK(std::fegetround() == mode);
        CHECK(third() == before);
        CHECK(test::FlushToZero::happens());
        {
          const DefaultFloats inner;  // a reading call inside of the callback
          CHECK(third() == nearest);
        }
        CHECK(std::fegetround() == mode);
      }
      CHECK(third() == nearest);
    }
    CHECK(std::fegetround() == mode);
    CHECK(third() == before);
    CHECK(test::FlushToZero::happens());
  }
}

TEST_CASE("what a callback makes of the environment stays the caller's", "[base]") {
  const Restore restore;
  {
    const DefaultFloats call;
    {
      const HostFloats callback;
      std::fesetround(FE_UPWARD);
    }
    CHECK(std::fegetround() == FE_TONEAREST);
  }
  CHECK(std::fegetround() == FE_UPWARD);
}

TEST_CASE("flags and masks of exceptions are the caller's, before and after", "[base]") {
  const Restore restore;
  std::feclearexcept(FE_ALL_EXCEPT);
  volatile float zero = 0;
  zero = 1 / zero;
  CHECK(std::fetestexcept(FE_DIVBYZERO) != 0);
  {
    const DefaultFloats call;
    CHECK(std::fetestexcept(FE_DIVBYZERO) == 0);
    third();  // inexact
  }
  CHECK(std::fetestexcept(FE_DIVBYZERO) != 0);
  CHECK(std::fetestexcept(FE_INEXACT) == 0);
#if defined(__x86_64__) && defined(__GLIBC__)
  ::feenableexcept(FE_INEXACT | FE_DIVBYZERO);
  {
    const DefaultFloats call;
    third();  // would end the process
    volatile long double one = 1, three = 3;
    volatile long double x87 = one / three;
    CHECK(x87 < 1);
  }
  CHECK((::fegetexcept() & FE_DIVBYZERO) != 0);
  ::fedisableexcept(FE_ALL_EXCEPT);
#endif
}

TEST_CASE("outside of a call a callback leaves the environment alone", "[base]") {
  const Restore restore;
  std::fesetround(FE_DOWNWARD);
  {
    const HostFloats callback;
    CHECK(std::fegetround() == FE_DOWNWARD);
  }
  CHECK(std::fegetround() == FE_DOWNWARD);
}
