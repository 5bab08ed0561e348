// ThreadPool: fixed threads, fixed split.
//
// run(n, body) calls body(begin, end, thread) once per thread with that thread's
// share of [0, n): contiguous, decided by n and the thread count alone.  A body
// must write only what belongs to its indices, so results do not depend on the
// number of threads.  The calling thread is thread 0.
//
// share(n, body) calls body(i, thread) for every i of [0, n): threads take the next one when they
// are free, in rising order.  For bodies of unequal length that care for nothing but their index.
//
// One run() at a time per pool; the caller (the model's forward lock) sees to it.
// When bodies throw, the exception of the lowest indices is rethrown in the caller after
// all have ended: with bodies that stop at their first error, the same for any number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <type_traits>
#include <vector>

namespace v4i {

class ThreadPool {
 public:
  // threads >= 1, the calling thread included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // While on, threads count the time that they spend in bodies: two looks at the clock
  // each per run().  Between runs only.
  void count_busy(bool on) { counting_ = on; }
  std::uint64_t busy_ns() const;  // of all threads together, so far

  template <class Body>
  void run(std::int64_t n, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run_erased(
        n,
        [](void* b, std::int64_t begin, std::int64_t end, int thread) {
          (*static_cast<B*>(b))(begin, end, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  template <class Body>
  void share(std::int64_t n, Body&& body) {
    std::atomic<std::int64_t> next{0};
    run(size_, [&](std::int64_t, std::int64_t, int thread) {
      for (std::int64_t i = next++; i < n; i = next++) body(i, thread);
    });
  }

 private:
  using Call = void (*)(void* body, std::int64_t begin, std::int64_t end, int thread);
  void run_erased(std::int64_t n, Call call, void* body);

  struct State;
  int size_;
  bool counting_ = false;
  std::unique_ptr<State> state_;
};

}  // namespace v4i
