// Pieces taken from one counter, workers that sleep between runs; see thread_pool.h.
//
// The counter and the number of the run share a 64-bit word.  A worker reads the word, then what
// the run is, and takes pieces by exchanging the word for one with a higher counter.  That fails
// when another run has begun meanwhile, so whoever took a piece has read the run it belongs to,
// and whoever has taken none may be late by any time: nobody waits for it.
#include "lib/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/thread.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace v4i {

namespace {

using Clock = std::chrono::steady_clock;

// A decode step has hundreds of short runs, with gaps of some microseconds between them.  Threads
// look for work, or for the end of others' pieces, this long before they sleep in the kernel.
constexpr std::chrono::microseconds kSpin{50};
// Less work than this, in nanoseconds, is done before another thread has seen it.
constexpr std::int64_t kWorthSharing = 5'000;
// Waking a thread takes the caller 5 us or so: it is done for this much work, or once so much was
// not shared because all were asleep.
constexpr std::int64_t kWorthWaking = 50'000;
// Work of a piece.  A thread takes several while many are left, at most kMostTaken of work.
constexpr std::int64_t kLeastPiece = 2'500, kMostPiece = 20'000, kMostTaken = 100'000;
constexpr std::int64_t kPieces = 16;  // for each thread, between these bounds

// The word: the run's number, then the next piece.
constexpr int kPieceBits = 16;
constexpr std::uint64_t kNobody =
    (1u << kPieceBits) - 1;  // no piece to take: a run is being set up
constexpr std::int64_t kMostPieces = kNobody - 1;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // waits tens of cycles, as pause does; yield waits for nothing
#else
  std::this_thread::yield();
#endif
}

// Looks for a while whether `ready` has become true.
template <class Ready>
bool spin(Ready&& ready) {
  if (ready()) return true;
  const auto until = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      pause();
      if (ready()) return true;
    }
  } while (Clock::now() < until);
  return false;
}

}  // namespace

struct ThreadPool::State {
  // Of the run, written while the word offers no piece.
  std::atomic<Call> call{nullptr};
  std::atomic<void*> body{nullptr};
  std::atomic<std::int64_t> n{0}, pieces{0}, most{1};  // most: pieces taken at a time
  std::atomic<std::uint64_t> word{kNobody};
  std::atomic<std::int64_t> left{0};  // pieces that are not done
  std::atomic<bool> caller_sleeps{false};

  std::vector<std::thread> workers;
  std::atomic<std::int64_t> started{0};  // of them
  std::atomic<std::int64_t> sharers{1};  // threads at the same time
  std::function<void(int)> before_take;
  std::mutex mutex;  // of the two below
  std::condition_variable wake, done;
  std::atomic<std::int64_t> sleepers{0};
  std::atomic<bool> stop{false};
  std::int64_t not_shared = 0;  // work done alone since somebody was woken

  bool counting = false;
  std::atomic<std::uint64_t> busy_ns{0};
  std::mutex error_mutex;
  std::exception_ptr error;
  std::atomic<std::int64_t> error_piece{INT64_MAX};

  ~State() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    wake.notify_all();
    for (std::thread& w : workers) w.join();
  }

  std::uint64_t number() const { return word.load() >> kPieceBits; }
  std::int64_t awake() const { return started.load() - sleepers.load(); }

  // Of the caller: offers the pieces of a run.
  void offer(Call c, void* b, std::int64_t count, std::int64_t parts, std::int64_t at_a_time) {
    word.store((number() + 1) << kPieceBits | kNobody);
    call.store(c, std::memory_order_release);
    body.store(b, std::memory_order_release);
    n.store(count, std::memory_order_release);
    pieces.store(parts, std::memory_order_release);
    most.store(at_a_time, std::memory_order_release);
    left.store(parts, std::memory_order_release);
    word.store((number() + 1) << kPieceBits);
  }

  // Does some pieces; false when all are taken.  What it reads of the run is of the run that the
  // exchange takes pieces of: a value of a later one would have been written after the word
  // changed.
  bool take(int thread) {
    std::uint64_t w = word.load(std::memory_order_acquire);
    for (;;) {
      const auto first = static_cast<std::int64_t>(w & kNobody);
      const std::int64_t all = pieces.load(std::memory_order_acquire);
      if (first >= all) return false;
      const std::int64_t fair = (all - first) / (2 * sharers.load());
      const std::int64_t count = std::clamp<std::int64_t>(fair, 1, most.load());
      const Call c = call.load(std::memory_order_acquire);
      void* const b = body.load(std::memory_order_acquire);
      const std::int64_t end = n.load(std::memory_order_acquire);
      if (!word.compare_exchange_weak(w, w + static_cast<std::uint64_t>(count))) continue;
      const std::int64_t last = first + count;
      run_pieces(first, [&] { c(b, end * first / all, end * last / all, thread); });
      finish(count);
      return true;
    }
  }

  template <class Body>
  void run_pieces(std::int64_t first, Body&& run) {
    if (first > error_piece.load()) return;  // what comes before the error is still done
    const auto start = counting ? Clock::now() : Clock::time_point();
    try {
      run();
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (first > error_piece.load()) return;
      error = std::current_exception();
      error_piece = first;
    }
    if (counting)
      busy_ns += static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
  }

  void finish(std::int64_t count) {
    if (left.fetch_sub(count) > count || !caller_sleeps.load()) return;
    { const std::lock_guard lock(mutex); }  // the caller is in its wait, or has seen `left`
    done.notify_one();
  }

  void wait_for_others() {
    if (spin([&] { return left.load(std::memory_order_acquire) == 0; })) return;
    std::unique_lock lock(mutex);
    caller_sleeps = true;
    done.wait(lock, [&] { return left.load() == 0; });
    caller_sleeps = false;
  }

  // Wakes two at most: those wake others.
  void wake_some() {
    const auto next = static_cast<std::int64_t>(word.load() & kNobody);
    const std::int64_t useful = std::min(pieces.load() - next, sharers.load() - 1) - awake();
    for (std::int64_t i = std::min<std::int64_t>({useful, sleepers.load(), 2}); i > 0; --i) {
      { const std::lock_guard lock(mutex); }  // whoever counts as asleep is in its wait
      wake.notify_one();
    }
  }

  void work(int thread) {
    while (!stop.load()) {
      const std::uint64_t seen = number();
      if (before_take) before_take(thread);
      while (take(thread)) {
      }
      const auto more = [&] { return number() != seen || stop.load(); };
      if (spin(more)) continue;
      std::unique_lock lock(mutex);
      ++sleepers;
      wake.wait(lock, more);
      --sleepers;
      lock.unlock();
      wake_some();
    }
  }

  // Is there, or will there be, another thread to share this with?
  bool has_company(std::int64_t ns) {
    if (awake() > 0) return true;
    not_shared += std::min(ns, kWorthWaking);
    if (not_shared < kWorthWaking) return false;
    not_shared = 0;
    return true;
  }
};

ThreadPool::ThreadPool(const ThreadPoolOptions& options) : state_(std::make_unique<State>()) {
  V4I_CHECK(options.threads >= 1);
  state_->before_take = options.before_take;
  const int all = options.at_once == 0 ? options.threads : options.at_once;
  state_->sharers = std::min(all, options.threads);
  start_workers(options);
  if (size_ < state_->sharers) state_->sharers = size_;
}

ThreadPool::~ThreadPool() = default;

void ThreadPool::start_workers(const ThreadPoolOptions& options) {
  // Answers of the workers, where there is something that can be refused.
  std::mutex mutex;
  std::condition_variable answered;
  int answers = 0;
  std::string refused;
  ThreadOptions o{"", options.nice, options.cpus, {}};
  const bool asks = options.nice != 0 || !options.cpus.empty();
  if (asks)
    o.ready = [&](const std::string& text) {
      const std::lock_guard lock(mutex);
      refused = text;
      ++answers;
      answered.notify_one();
    };
  try {
    state_->workers.reserve(static_cast<std::size_t>(options.threads));
    for (int t = 1; t < options.threads; ++t) {
      o.name = fmt::format("v4infer-{}", t);
      state_->workers.push_back(start_thread(o, [s = state_.get(), t] { s->work(t); }));
      state_->started = size_++;
    }
  } catch (const std::exception& e) {
    refused_.push_back(fmt::format("{} of {} threads: {}", size_, options.threads, e.what()));
  }
  std::unique_lock lock(mutex);
  if (asks) answered.wait(lock, [&] { return answers == size_ - 1; });
  if (!refused.empty())
    refused_.push_back(fmt::format("the threads keep their creator's {}", refused));
}

int ThreadPool::at_once() const { return static_cast<int>(state_->sharers.load()); }
std::uint64_t ThreadPool::busy_ns() const { return state_->busy_ns; }

void ThreadPool::run_erased(std::int64_t n, std::int64_t work, bool single, Call call, void* body) {
  if (n <= 0) return;
  State& s = *state_;
  const std::int64_t sharers = s.sharers;
  s.counting = counting_;
  if (sharers == 1 || n == 1 || work < kWorthSharing || !s.has_company(work)) {
    s.run_pieces(0, [&] { call(body, 0, n, 0); });
  } else {
    const std::int64_t piece = std::clamp(work / (kPieces * sharers), kLeastPiece, kMostPiece);
    const std::int64_t wanted = single ? n : work == kMuch ? kPieces * sharers : work / piece;
    const std::int64_t pieces = std::clamp<std::int64_t>(wanted, 2, std::min(n, kMostPieces));
    s.offer(call, body, n, pieces, single ? 1 : std::max<std::int64_t>(1, kMostTaken / piece));
    s.wake_some();
    while (s.take(0)) {
    }
    s.wait_for_others();
  }
  if (s.error == nullptr) return;
  s.error_piece = INT64_MAX;
  std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace v4i
