// ReadQueue: reads of file ranges, many at a time.
//
// A request belongs to its owner and stays where it is, with the memory it reads into, until
// done(), or cancel() has said that it will not be read.  Demand goes before hints; hints begin
// only while no demand waits, and at most `hints` of them are under way at a time.  Nothing blocks
// but wait() and progress() with a timeout.  What O_DIRECT needs (addresses, offsets and sizes in
// multiples of 4096) is the owner's affair.
//
// io_uring where the build and the kernel have it, else threads with pread that are started when
// they are first needed.  A short read is continued to the end of the request or of the file.
// Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace v4i::store {

struct ReadRequest {
  int fd = -1;
  std::uint64_t offset = 0;
  std::byte* to = nullptr;
  std::size_t bytes = 0;

  bool done() const { return state.load(std::memory_order_acquire) == State::kDone; }
  // After done(): 0, or an errno; how much was read, less than `bytes` only at the end of the file.
  int error = 0;
  std::size_t read = 0;

  enum class State : int { kIdle, kQueued, kRunning, kDone };  // the queue's
  std::atomic<State> state{State::kIdle};
  bool hint = false;
  ReadRequest *next = nullptr, *previous = nullptr;
};

class ReadQueue {
 public:
  enum class Kind { kBest, kUring, kThreads };
  struct Options {
    Kind kind = Kind::kBest;  // kUring: Error(kUnsupported) where there is none
    unsigned depth = 64;      // reads under way
    unsigned hints = 16;      // of these, at most
    unsigned threads = 8;     // of kThreads
  };
  ReadQueue();
  explicit ReadQueue(const Options& options);
  ~ReadQueue();  // cancels what has not begun, waits for what has
  ReadQueue(const ReadQueue&) = delete;
  ReadQueue& operator=(const ReadQueue&) = delete;

  Kind kind() const;  // kUring or kThreads

  void submit(std::span<ReadRequest* const> requests, bool hint = false);
  // A hint that has not begun becomes demand.
  void promote(ReadRequest& request) noexcept;
  // True: it had not begun, or not been submitted, and will not be read.  False: it is being read
  // or done; wait for it.
  bool cancel(ReadRequest& request) noexcept;
  // Until it is done, at most `timeout_ns`; whether it is.  A hint is promoted.
  bool wait(ReadRequest& request, std::uint64_t timeout_ns);
  // Until any request has become done since the call, at most `timeout_ns`, and no longer than
  // something is under way.  Collects what has finished; with 0 it does only that.
  void progress(std::uint64_t timeout_ns) { progress(timeout_ns, finished()); }
  // Who shares the queue with others takes finished() first, looks at its requests, then waits
  // here: what became done in between ends the wait too.
  void progress(std::uint64_t timeout_ns, std::uint64_t finished);
  std::uint64_t finished() const noexcept;  // requests that have become done

  struct Stats {
    std::uint64_t reads = 0, bytes = 0, errors = 0, hints = 0, cancelled = 0;
  };
  Stats stats() const;

  struct Impl;  // lib/store/read_queue_impl.h

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace v4i::store
