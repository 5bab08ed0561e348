// Reads by threads with pread, for kernels without io_uring.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "lib/base/thread.h"
#include "lib/store/read_queue_impl.h"

namespace v4i::store {

namespace {

constexpr std::size_t kMost = std::size_t{1} << 30;  // bytes of one call

class ThreadReads final : public ReadQueue::Impl {
 public:
  explicit ThreadReads(const ReadQueue::Options& o) : Impl(o) { workers_.reserve(o.threads); }

  ~ThreadReads() override {
    {
      const std::scoped_lock lock(mutex);
      stop_ = true;
    }
    wanted_.notify_all();
    for (std::thread& t : workers_) t.join();
  }

  ReadQueue::Kind kind() const override { return ReadQueue::Kind::kThreads; }
  void collect() override {}
  void sleep(Lock& lock, Clock::time_point until) override { changed.wait_until(lock, until); }

  // Threads are started while there are fewer waiting than requests.  One is enough, so a system
  // that gives no more only makes reads slower; without any the caller reads for itself.
  void pump() override {
    while (waiting_ < queued() && workers_.size() < options.threads) {
      try {
        workers_.push_back(start_thread({"v4infer-reads", 0, {}, {}}, [this] { work(); }));
      } catch (...) {
        if (workers_.empty()) return read_here();
        break;
      }
      ++waiting_;
    }
    wanted_.notify_all();
  }

 private:
  void work() {
    Lock lock(mutex);
    for (;;) {
      ReadRequest* r = next(options.depth);
      if (r == nullptr) {
        if (stop_) return;
        wanted_.wait(lock);
        continue;
      }
      --waiting_;
      lock.unlock();
      read(*r);
      lock.lock();
      ++waiting_;
      finish(*r);
      changed.notify_all();
    }
  }

  void read_here() {
    while (ReadRequest* r = next(options.depth)) {
      read(*r);
      finish(*r);
    }
    changed.notify_all();
  }

  static void read(ReadRequest& r) noexcept {
    std::int64_t n;
    do {
      const std::size_t rest = std::min(r.bytes - r.read, kMost);
      n = ::pread(r.fd, r.to + r.read, rest, static_cast<off_t>(r.offset + r.read));
      if (n < 0) n = -errno;
    } while (!step(r, n));
  }

  std::condition_variable wanted_;  // there is something to read, or an end to it
  std::vector<std::thread> workers_;
  std::size_t waiting_ = 0;  // threads that have nothing to do, or have just been started
  bool stop_ = false;
};

}  // namespace

std::unique_ptr<ReadQueue::Impl> make_thread_reads(const ReadQueue::Options& options) {
  return std::make_unique<ThreadReads>(options);
}

}  // namespace v4i::store
