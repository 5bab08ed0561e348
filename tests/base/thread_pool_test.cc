// What a pool promises beyond running its bodies: whose error is seen, and time in bodies.
#include "lib/base/thread_pool.h"

#include <chrono>
#include <string>
#include <thread>

#include "lib/base/error.h"
#include "tests/support/catch.h"

using namespace v4i;

TEST_CASE("the error of the lowest index is seen, for any number of threads", "[base]") {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (int again = 0; again < 20; ++again) {
      std::string seen;
      try {
        pool.run(100, [](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t i = begin; i < end; ++i)
            if (i >= 13) fail(Code::kInvalid, "index {}", i);
        });
      } catch (const Error& e) {
        seen = e.what();
      }
      CHECK(seen == "index 13");
    }
    pool.run(100, [](std::int64_t, std::int64_t, int) {});  // and is not seen twice
  }
}

TEST_CASE("a pool counts the time in bodies while it is asked to", "[base]") {
  ThreadPool pool(3);
  const auto nap = [&] {
    pool.run(3, [](std::int64_t, std::int64_t, int) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    });
  };
  nap();
  CHECK(pool.busy_ns() == 0);
  pool.count_busy(true);
  nap();
  CHECK(pool.busy_ns() >= 6'000'000);
  pool.count_busy(false);
  const auto before = pool.busy_ns();
  nap();
  CHECK(pool.busy_ns() == before);
}
