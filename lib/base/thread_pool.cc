// Fixed threads that sleep between runs; see thread_pool.h.
#include "lib/base/thread_pool.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "lib/base/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace v4i {

namespace {

using Clock = std::chrono::steady_clock;

// A decode step has hundreds of short runs; a worker spins this often before it
// sleeps, so that the gap between two runs stays at a few microseconds.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // waits tens of cycles, as pause does; yield waits for nothing
#else
  std::this_thread::yield();
#endif
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<int> working{0};
  std::atomic<bool> stop{false};
  Call call = nullptr;
  void* body = nullptr;
  std::int64_t n = 0;
  bool counting = false;
  std::atomic<std::uint64_t> busy_ns{0};
  std::mutex error_mutex;
  std::exception_ptr error;
  int error_thread = 0;

  void part(int thread, int threads) {
    const std::int64_t begin = n * thread / threads, end = n * (thread + 1) / threads;
    if (begin == end) return;
    const auto start = counting ? Clock::now() : Clock::time_point();
    try {
      call(body, begin, end, thread);
    } catch (...) {
      std::lock_guard lock(error_mutex);
      if (error && error_thread < thread) return;
      error = std::current_exception();
      error_thread = thread;
    }
    if (counting)
      busy_ns += static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
  }

  void work(int thread, int threads) {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < kSpins && generation.load() == seen && !stop.load(); ++i) pause();
      if (generation.load() == seen && !stop.load()) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load() != seen || stop.load(); });
      }
      if (stop.load()) return;
      seen = generation.load();
      part(thread, threads);
      working.fetch_sub(1);
    }
  }
};

ThreadPool::ThreadPool(int threads) : size_(threads), state_(std::make_unique<State>()) {
  V4I_CHECK(threads >= 1);
  for (int t = 1; t < threads; ++t)
    state_->workers.emplace_back([s = state_.get(), t, threads] { s->work(t, threads); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (auto& w : state_->workers) w.join();
}

std::uint64_t ThreadPool::busy_ns() const { return state_->busy_ns; }

void ThreadPool::run_erased(std::int64_t n, Call call, void* body) {
  State& s = *state_;
  s.call = call;
  s.body = body;
  s.n = n;
  s.counting = counting_;
  if (size_ > 1) {
    s.working = size_ - 1;
    {
      std::lock_guard lock(s.mutex);
      s.generation.fetch_add(1);
    }
    s.wake.notify_all();
  }
  s.part(0, size_);
  for (int i = 0; s.working.load() > 0; ++i) {
    if (i < kSpins * 4)
      pause();
    else
      std::this_thread::yield();
  }
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace v4i
