// Threads of the library's own.  A host must not notice them: they take none of its signals, carry
// a name that debuggers and profilers show, and compute in the default floating-point environment
// whatever that of their creator is.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace v4i {

struct ThreadOptions {
  std::string name;       // at most 15 characters
  int nice = 0;           // of Linux, -20 to 19; 0: as its creator
  std::vector<int> cpus;  // that it may run on; empty: as its creator
  // Called on the thread before `body`, with what the system refused of these, or empty.
  std::function<void(const std::string& refused)> ready;
};

// Signals that report a fault of the thread itself (SIGSEGV, SIGBUS, ...) stay as they are, so that
// a host's crash handler sees them; all others are blocked.  The caller's mask is put back.
// Error(kNoMemory) when the system gives no thread.
std::thread start_thread(ThreadOptions options, std::function<void()> body);

}  // namespace v4i
