// CancelFlag: set from any thread or signal handler, looked at every layer.
#pragma once

#include <atomic>

#include "lib/base/error.h"

namespace v4i {

class CancelFlag {
 public:
  void signal() noexcept { set_.store(true, std::memory_order_relaxed); }
  void reset() noexcept { set_.store(false, std::memory_order_relaxed); }
  bool is_set() const noexcept { return signalled() || (also_ != nullptr && also_->is_set()); }
  bool signalled() const noexcept { return set_.load(std::memory_order_relaxed); }
  // This flag counts as set when `other` is, which may be null.  While nobody else looks at it.
  void also(const CancelFlag* other) noexcept { also_ = other; }

 private:
  static_assert(std::atomic<bool>::is_always_lock_free, "signal() must be async-signal-safe");
  std::atomic<bool> set_{false};
  const CancelFlag* also_ = nullptr;
};

inline void throw_if_cancelled(const CancelFlag* flag) {
  if (flag != nullptr && flag->is_set()) throw Error(Code::kCancelled, "cancelled");
}

}  // namespace v4i
