// The lock on computing: one at a time, in the order of asking, cancellable.
#include "lib/session/compute_lock.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

namespace v4i::session {
namespace {

using namespace std::chrono_literals;

TEST_CASE("one holder at a time") {
  ComputeLock lock;
  int inside = 0, total = 0, overlaps = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const Turn turn(lock, nullptr);
        overlaps += ++inside != 1;
        ++total;
        --inside;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(overlaps == 0);
  CHECK(total == 2000);
}

TEST_CASE("a thread that asks again waits behind those who asked before") {
  ComputeLock lock;
  lock.lock();
  std::vector<int> order;  // under the lock
  std::vector<std::thread> threads;
  std::atomic<int> started{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      ++started;
      const Turn turn(lock, nullptr);
      order.push_back(t);
    });
    while (started.load() != t + 1) std::this_thread::yield();
    std::this_thread::sleep_for(20ms);  // until it stands in the queue
  }
  lock.unlock();
  {
    const Turn again(lock, nullptr);
    CHECK(order.size() == 3);
    CHECK(std::is_sorted(order.begin(), order.end()));
  }
  for (auto& t : threads) t.join();
}

TEST_CASE("a cancelled waiter leaves the queue, the others get their turn") {
  ComputeLock lock;
  lock.lock();
  CancelFlag cancel;
  bool cancelled = false, served = false;
  std::thread first([&] {
    try {
      lock.lock(&cancel);
      lock.unlock();
    } catch (const Error& e) {
      cancelled = e.code() == Code::kCancelled;
    }
  });
  std::this_thread::sleep_for(20ms);
  std::thread second([&] {
    const Turn turn(lock, nullptr);
    served = true;
  });
  std::this_thread::sleep_for(20ms);
  cancel.signal();
  first.join();  // while the lock is still held
  CHECK(cancelled);
  lock.unlock();
  second.join();
  CHECK(served);
  const Turn free(lock, nullptr);
}

TEST_CASE("a set flag ends the wait before it begins") {
  ComputeLock lock;
  CancelFlag cancel;
  cancel.signal();
  CHECK_THROWS_AS(lock.lock(&cancel), Error);
  const Turn free(lock, nullptr);
}

}  // namespace
}  // namespace v4i::session
