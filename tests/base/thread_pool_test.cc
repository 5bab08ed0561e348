// What a pool promises beyond running its bodies: who takes what, whose error is seen, time in
// bodies.
#include "lib/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "lib/base/error.h"
#include "tests/support/catch.h"

using namespace v4i;

namespace {

constexpr std::int64_t kMuch = ThreadPool::kMuch;

// What bodies were called with.
struct Seen {
  std::mutex mutex;
  std::vector<int> count;          // how often, by index
  std::vector<std::int64_t> last;  // piece, by thread
  std::set<int> threads;
  int calls = 0;
  bool rising = true;

  explicit Seen(std::int64_t n) : count(static_cast<std::size_t>(n)), last(64, -1) {}
  void operator()(std::int64_t begin, std::int64_t end, int thread) {
    const std::lock_guard lock(mutex);
    for (std::int64_t i = begin; i < end; ++i) ++count[static_cast<std::size_t>(i)];
    std::int64_t& before = last[static_cast<std::size_t>(thread)];
    rising = rising && begin > before;
    before = begin;
    threads.insert(thread);
    ++calls;
  }
  bool each_once() const {
    return std::all_of(count.begin(), count.end(), [](int c) { return c == 1; });
  }
};

}  // namespace

TEST_CASE("every index is in one piece, and where it is asked for a thread's pieces rise",
          "[base]") {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (std::int64_t n : {1, 2, 3, 7, 64, 1000, 70'000, 200'000})
      for (std::int64_t work :
           {std::int64_t{100}, std::int64_t{60'000}, std::int64_t{5'000'000}, kMuch}) {
        CAPTURE(threads, n, work);
        Seen run(n), rising(n), share(n);
        pool.run(n, work, run);
        CHECK(run.each_once());
        pool.run_rising(n, work, rising);
        CHECK(rising.each_once());
        CHECK(rising.rising);
        if (n > 1000) continue;
        pool.share(n, work, [&](std::int64_t i, int thread) { share(i, i + 1, thread); });
        CHECK(share.each_once());
        CHECK(share.rising);
      }
    pool.run(0, kMuch, [](std::int64_t, std::int64_t, int) { FAIL("a piece of nothing"); });
  }
}

TEST_CASE("runs follow each other without a piece lost or taken twice", "[base]") {
  ThreadPool pool(4);
  std::vector<std::int64_t> sum(64);
  for (int again = 0; again < 20'000; ++again)
    pool.run(64, again % 3 == 0 ? kMuch : 40'000, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) ++sum[static_cast<std::size_t>(i)];
    });
  CHECK(sum == std::vector<std::int64_t>(64, 20'000));
}

TEST_CASE("what is too small to share stays on the caller, in one piece", "[base]") {
  ThreadPool pool(4);
  for (int again = 0; again < 100; ++again) {
    Seen seen(1000);
    pool.run(1000, 1000, seen);
    CHECK(seen.calls == 1);
    CHECK(seen.threads == std::set<int>{0});
  }
}

TEST_CASE("the caller does not wait for a thread that has taken nothing", "[base]") {
  std::mutex gate;  // workers get no further than this
  ThreadPoolOptions o;
  o.threads = 3;
  o.before_take = [&](int) { const std::lock_guard wait(gate); };
  ThreadPool pool(o);
  std::unique_lock closed(gate);
  for (int again = 0; again < 50; ++again) {
    Seen seen(500);
    pool.run(500, kMuch, seen);
    CHECK(seen.each_once());
    CHECK(seen.threads == std::set<int>{0});
    CHECK(seen.calls > 1);  // it was offered to others
  }
  closed.unlock();
}

TEST_CASE("a thread held in the middle of a piece keeps that piece alone", "[base]") {
  ThreadPool pool(2);
  std::atomic<int> by_worker{0}, by_caller{0};
  // The worker's first piece ends when the caller has done all others.
  while (by_worker == 0) {
    by_caller = 0;
    pool.share(100, kMuch, [&](std::int64_t i, int thread) {
      if (thread == 0) {
        ++by_caller;
        if (i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      ++by_worker;
      while (by_caller < 99) std::this_thread::yield();
    });
  }
  CHECK(by_worker == 1);
  CHECK(by_caller == 99);
}

TEST_CASE("no more threads work at the same time than were asked for", "[base]") {
  ThreadPoolOptions o;
  o.threads = 8;
  o.at_once = 3;
  ThreadPool pool(o);
  CHECK(pool.size() == 8);
  CHECK(pool.at_once() == 3);
  std::atomic<int> now{0}, most{0};
  for (int again = 0; again < 200; ++again)
    pool.share(16, kMuch, [&](std::int64_t, int) {
      const int n = ++now;
      for (int m = most; m < n && !most.compare_exchange_weak(m, n);) {
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      --now;
    });
  CHECK(most <= 3);
  CHECK(most >= 2);
}

TEST_CASE("the error of the lowest index is seen, for any number of threads", "[base]") {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (int again = 0; again < 20; ++again)
      for (std::int64_t work : {std::int64_t{10}, kMuch}) {
        std::string seen;
        try {
          pool.run(100, work, [](std::int64_t begin, std::int64_t end, int) {
            for (std::int64_t i = begin; i < end; ++i)
              if (i >= 13) fail(Code::kInvalid, "index {}", i);
          });
        } catch (const Error& e) {
          seen = e.what();
        }
        CHECK(seen == "index 13");
      }
    pool.run(100, kMuch, [](std::int64_t, std::int64_t, int) {});  // and is not seen twice
  }
}

TEST_CASE("a pool counts the time in bodies while it is asked to", "[base]") {
  ThreadPool pool(3);
  const auto nap = [&] {
    pool.run(3, kMuch, [](std::int64_t begin, std::int64_t end, int) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2) * (end - begin));
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
