// ThreadPool: threads that share the indices of a loop.
//
// run(n, work, body) calls body(begin, end, thread) for pieces that cover [0, n).  A thread that is
// free takes a piece, of its own part of [0, n) first: nothing is kept for a thread that is not
// running.  The caller is thread 0 and takes pieces like the others, so it waits for nobody but for
// those who are in the middle of one.  A thread gets several pieces of a run or none.  A body must
// write only what belongs to its indices and keep in a thread's scratch only what does not depend
// on which pieces that thread had; then results do not depend on threads.
//
// `work` is about how many nanoseconds the whole run takes one thread; it decides how many pieces
// there are, and what is too small to share runs on the caller.  It never changes a result.
//
// run_rising(n, work, body) is the same, but each piece of a thread is above those it had before.
// share(n, work, body) calls body(i, thread) for every i, in rising order, too: pieces of one index
// each, for bodies of unequal length.
//
// Threads wait for work by looking for it for some microseconds, then in the kernel.
//
// One run at a time per pool; the caller (the model's forward lock) sees to it.  When bodies throw,
// the exception of the lowest indices is rethrown in the caller after all have ended: with bodies
// that stop at their first error, the same for any number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace v4i {

struct ThreadPoolOptions {
  int threads = 1;  // the calling thread included
  // Of these, threads that are woken to work at the same time: more than there are processors only
  // take time from each other.  0: all.
  int at_once = 0;
  int nice = 0;           // of the workers, as ThreadOptions
  std::vector<int> cpus;  // as ThreadOptions
  // For tests: called by a worker before it looks for a piece.
  std::function<void(int thread)> before_take;
};

class ThreadPool {
 public:
  static constexpr std::int64_t kMuch = INT64_MAX;  // work that is worth sharing, whatever it takes

  explicit ThreadPool(int threads) : ThreadPool(ThreadPoolOptions{threads, 0, 0, {}, {}}) {}
  // Threads that the system does not give are missing in size().
  explicit ThreadPool(const ThreadPoolOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }
  int at_once() const;  // threads that work at the same time, at most
  // What the system refused, a sentence each: threads, their priority, their processors.
  const std::vector<std::string>& refused() const { return refused_; }

  // While on, threads count the time that they spend in bodies: two looks at the clock
  // for each piece.  Between runs only.
  void count_busy(bool on) { counting_ = on; }
  std::uint64_t busy_ns() const;  // of all threads together, so far

  template <class Body>
  void run(std::int64_t n, std::int64_t work, Body&& body) {
    run_as(Order::kAny, n, work, body);
  }
  template <class Body>
  void run_rising(std::int64_t n, std::int64_t work, Body&& body) {
    run_as(Order::kRising, n, work, body);
  }
  template <class Body>
  void run(std::int64_t n, Body&& body) {
    run(n, kMuch, std::forward<Body>(body));
  }

  template <class Body>
  void share(std::int64_t n, std::int64_t work, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run_erased(
        Order::kSingle, n, work,
        [](void* b, std::int64_t begin, std::int64_t end, int thread) {
          for (std::int64_t i = begin; i < end; ++i) (*static_cast<B*>(b))(i, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Call = void (*)(void* body, std::int64_t begin, std::int64_t end, int thread);
  enum class Order { kAny, kRising, kSingle };
  template <class B>
  void run_as(Order order, std::int64_t n, std::int64_t work, B& body) {
    run_erased(
        order, n, work,
        [](void* b, std::int64_t begin, std::int64_t end, int thread) {
          (*static_cast<B*>(b))(begin, end, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }
  void run_erased(Order order, std::int64_t n, std::int64_t work, Call call, void* body);
  void start_workers(const ThreadPoolOptions& options);

  struct State;
  int size_ = 1;
  bool counting_ = false;
  std::vector<std::string> refused_;
  std::unique_ptr<State> state_;
};

}  // namespace v4i
