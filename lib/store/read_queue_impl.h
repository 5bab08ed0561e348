// What the two kinds of ReadQueue share: the lists of waiting requests and their states.
//
// Every member function is called with `mutex` held unless it says otherwise.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "lib/store/read_queue.h"

namespace v4i::store {

// A list through the requests themselves: queueing allocates nothing.
class RequestList {
 public:
  std::size_t size() const { return size_; }
  ReadRequest* first() const { return first_; }
  void push_back(ReadRequest& r) noexcept;
  void remove(ReadRequest& r) noexcept;

 private:
  ReadRequest *first_ = nullptr, *last_ = nullptr;
  std::size_t size_ = 0;
};

struct ReadQueue::Impl {
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  explicit Impl(const Options& o) : options(o) {}
  virtual ~Impl() = default;

  virtual Kind kind() const = 0;
  virtual void pump() = 0;     // begins what may begin
  virtual void collect() = 0;  // takes what the kernel has finished
  // Until something may have become done, or `until`.  Gives the lock up meanwhile.
  virtual void sleep(Lock& lock, Clock::time_point until) = 0;

  // The request to begin next, or null; it is kRunning then.
  ReadRequest* next(unsigned depth) noexcept;
  // Counts in the result of one read, bytes or a negative errno; false: the rest has to be read.
  // Needs no lock: a running request is touched by whoever reads it.
  static bool step(ReadRequest& r, std::int64_t result) noexcept;
  void finish(ReadRequest& r) noexcept;  // its owner may free it from here on
  std::size_t queued() const { return demand.size() + hints.size(); }
  bool idle() const { return running == 0 && queued() == 0; }

  const Options options;
  mutable std::mutex mutex;
  std::condition_variable changed;  // something has become done
  RequestList demand, hints;
  unsigned running = 0, running_hints = 0;
  std::atomic<std::uint64_t> finished{0};
  Stats stats;
};

std::unique_ptr<ReadQueue::Impl> make_thread_reads(const ReadQueue::Options& options);
// Null where the build or the kernel has no io_uring, or forbids it.
std::unique_ptr<ReadQueue::Impl> make_uring_reads(const ReadQueue::Options& options);

}  // namespace v4i::store
