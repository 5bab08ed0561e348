// ComputeLock: whose turn it is to compute.
//
// A mutex that is handed on in the order of asking, so that a session which takes
// it chunk after chunk cannot starve another one, and whose wait ends when the
// waiter's cancel flag is set.  The flag may be set by a signal handler, which
// cannot wake anybody: a waiter looks every few milliseconds.
//
// Any thread.  Waiting allocates nothing.
#pragma once

#include <condition_variable>
#include <mutex>

#include "lib/base/cancel.h"

namespace v4i::session {

class ComputeLock {
 public:
  ComputeLock() = default;
  ComputeLock(const ComputeLock&) = delete;
  ComputeLock& operator=(const ComputeLock&) = delete;

  // Error(kCancelled) when `cancel`, which may be null, is set before the turn comes.
  void lock(const CancelFlag* cancel = nullptr);
  void unlock() noexcept;

 private:
  struct Waiter {
    Waiter* next = nullptr;
    bool turn = false;
  };
  void leave_queue(const Waiter* w) noexcept;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  Waiter* first_ = nullptr;  // on the waiters' stacks
};

// Holds the lock for one chunk.
class Turn {
 public:
  Turn(ComputeLock& lock, const CancelFlag* cancel) : lock_(lock) { lock_.lock(cancel); }
  ~Turn() { lock_.unlock(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  ComputeLock& lock_;
};

}  // namespace v4i::session
