// Callbacks: the one way from the library into the host's functions.
//
//   Gate  counts who is inside a callback, so that v4i_engine_quiesce() can close
//         the door and wait until nobody is
//   Log   lines of any thread, handed to the host on a thread that is inside a
//         v4i_ call
//   Inside  threads in a function of the host that may not call back
//
// Any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "include/v4infer/v4infer.h"
#include "lib/base/float_environment.h"

namespace v4i::capi {

class Gate {
 public:
  // Calls `body`, which calls the host, unless the gate is closed: false then.
  template <class Body>
  bool run(Body&& body) {
    if (!enter()) return false;
    struct Leave {
      Gate* gate;
      ~Leave() { gate->leave(); }
    } leave{this};
    const HostFloats floats;
    body();
    return true;
  }
  // As run(), for a call that makes no sense without its callback: kState.
  template <class Body>
  void require(Body&& body) {
    if (!run(body)) closed_error();
  }

  // Afterwards no body runs; waits for those that do.  kState from inside a body.
  void close();
  void check_outside();  // kState from inside a body

 private:
  bool enter();
  void leave() noexcept;
  [[noreturn]] static void closed_error();

  std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<std::thread::id> inside_;
  bool closed_ = false;
};

class Inside {
 public:
  class Scope {
   public:
    explicit Scope(Inside& inside);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Inside& inside_;
  };
  bool here() const noexcept;  // this thread

 private:
  mutable std::mutex mutex_;
  std::atomic<int> count_{0};
  std::vector<std::thread::id> threads_;
};

class Log {
 public:
  Log(v4i_log_fn fn, void* user, std::int32_t level) : fn_(fn), user_(user), level_(level) {}

  bool wants(std::int32_t level) const { return fn_ != nullptr && level <= level_; }
  // Queues a line; beyond kMost lines the newest are dropped.
  void add(std::int32_t level, const char* component, std::string text);
  // Calls the host for every queued line.  What the host throws leaves here.
  void flush(Gate& gate);

 private:
  static constexpr std::size_t kMost = 1024;
  struct Line {
    std::int32_t level;
    const char* component;  // a literal
    std::string text;
  };
  v4i_log_fn fn_;
  void* user_;
  std::int32_t level_;
  std::mutex mutex_;
  std::atomic<bool> any_{false};
  std::vector<Line> lines_;
};

}  // namespace v4i::capi
