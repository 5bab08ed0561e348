// The queue of a ComputeLock: a list threaded through the waiters' stacks.
#include "lib/session/compute_lock.h"

#include <chrono>

namespace v4i::session {

namespace {
constexpr std::chrono::milliseconds kLook{5};  // how late a cancelled waiter may notice
}

void ComputeLock::lock(const CancelFlag* cancel) {
  throw_if_cancelled(cancel);
  std::unique_lock guard(mutex_);
  if (!held_) {
    held_ = true;
    return;
  }
  Waiter me;
  Waiter** last = &first_;
  while (*last != nullptr) last = &(*last)->next;
  *last = &me;
  while (!me.turn) {
    changed_.wait_for(guard, kLook);
    if (!me.turn && cancel != nullptr && cancel->is_set()) {
      leave_queue(&me);
      throw_if_cancelled(cancel);
    }
  }
}

void ComputeLock::leave_queue(const Waiter* w) noexcept {
  Waiter** at = &first_;
  while (*at != w) at = &(*at)->next;
  *at = w->next;
}

void ComputeLock::unlock() noexcept {
  std::lock_guard guard(mutex_);
  if (first_ == nullptr) {
    held_ = false;
    return;
  }
  // Still held: it passes to the first in the queue.
  first_->turn = true;
  first_ = first_->next;
  changed_.notify_all();
}

}  // namespace v4i::session
