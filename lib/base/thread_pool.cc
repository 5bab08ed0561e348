// Workers that take pieces and sleep between runs; see thread_pool.h.
#include "lib/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/piece_ranges.h"
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

// A wait this long is for a thread that has lost its core to somebody else.  The caller then works
// alone for as long again; where such waits follow each other, each time for twice as many times
// that, so that in the end they take a seventeenth of its time.
constexpr std::chrono::microseconds kStalled{500};
constexpr int kMostAlone = 16;

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
  PieceRanges pieces;
  alignas(64) std::atomic<std::int64_t> done_by_workers{0};    // pieces of the run
  alignas(64) std::atomic<std::int64_t> wanted_of_workers{0};  // by the caller that sleeps

  std::vector<std::thread> workers;
  std::atomic<std::int64_t> started{0};  // of them
  std::atomic<std::int64_t> sharers;     // threads at the same time
  std::function<void(int)> before_take;
  std::mutex mutex;  // of the four below
  std::condition_variable wake, done;
  std::atomic<std::int64_t> sleepers{0};  // workers asleep that nobody has called
  std::int64_t called = 0;                // that have not yet woken up
  std::atomic<bool> stop{false};
  std::int64_t not_shared = 0;  // work done alone since somebody was woken
  bool alone = false;           // after a stall, until then
  Clock::time_point alone_until{};
  int times_alone = 1;

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

  explicit State(std::int64_t at_once)
      : pieces(static_cast<std::size_t>(at_once)), sharers(at_once) {}

  std::int64_t awake() const { return started.load() - sleepers.load(); }

  // Does some pieces and says how many; 0 when all are taken.  The caller has the first range.
  std::int64_t take(int thread) {
    const std::int64_t others = std::max<std::int64_t>(sharers.load() - 1, 1);
    PieceRanges::Taken t;
    if (!pieces.take(thread == 0 ? 0 : 1 + (thread - 1) % others, &t)) return 0;
    run_pieces(t.first, [&] { t.run.call(t.run.body, t.begin(), t.end(), thread); });
    return t.count;
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

  // Of a worker that has done so many pieces.
  void report(std::int64_t count) {
    const std::int64_t all = done_by_workers.fetch_add(count) + count;
    const std::int64_t wanted = wanted_of_workers.load();
    if (wanted == 0 || all < wanted) return;
    { const std::lock_guard lock(mutex); }  // the caller is in its wait, or has seen them
    done.notify_one();
  }

  // Of the caller, when all pieces are taken: until workers have done so many.
  void wait_for_workers(std::int64_t count) {
    const auto ready = [&] { return done_by_workers.load() == count; };
    if (spin(ready)) return;
    const auto start = Clock::now();
    {
      std::unique_lock lock(mutex);
      wanted_of_workers = count;
      done.wait(lock, ready);
      wanted_of_workers = 0;
    }
    if (const auto end = Clock::now(); end - start >= kStalled) work_alone(start, end);
  }

  void work_alone(Clock::time_point start, Clock::time_point end) {
    const auto stall = end - start;
    const bool again = start - alone_until < kMostAlone * stall;
    times_alone = again ? std::min(2 * times_alone, kMostAlone) : 1;
    alone_until = end + times_alone * stall;
    alone = true;
  }

  // Wakes two at most: those wake others.
  void wake_some() {
    const std::int64_t useful = std::min(pieces.left(), sharers.load() - 1);
    for (int i = 0; i < 2 && sleepers.load() > 0 && awake() < useful; ++i) {
      {
        const std::lock_guard lock(mutex);
        if (sleepers.load() == 0) return;
        --sleepers;
        ++called;
      }
      wake.notify_one();
    }
  }

  // Until another run than `seen` has begun, or this worker is called to one.
  void sleep(std::uint64_t seen) {
    std::unique_lock lock(mutex);
    ++sleepers;
    if (pieces.number() != seen) {  // offered before this worker could be seen asleep
      --sleepers;
      return;
    }
    wake.wait(lock, [&] { return called > 0 || stop.load(); });
    if (!stop.load()) --called;
    lock.unlock();
    wake_some();
  }

  // Workers begin asleep, counted by their creator.
  void work(int thread) {
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [&] { return called > 0 || stop.load(); });
      if (!stop.load()) --called;
    }
    while (!stop.load()) {
      const std::uint64_t seen = pieces.number();
      if (before_take) before_take(thread);
      while (const std::int64_t count = take(thread)) report(count);
      const auto more = [&] { return pieces.number() != seen || stop.load(); };
      if (!spin(more)) sleep(seen);
    }
  }

  // Is there, or will there be, another thread to share this with?
  bool has_company(std::int64_t ns) {
    if (alone && Clock::now() < alone_until) return false;
    alone = false;
    if (awake() > 0) return true;
    not_shared += std::min(ns, kWorthWaking);
    if (not_shared < kWorthWaking) return false;
    not_shared = 0;
    return true;
  }
};

ThreadPool::ThreadPool(const ThreadPoolOptions& options)
    : state_(std::make_unique<State>(
          std::max(1, options.at_once == 0 ? options.threads
                                           : std::min(options.at_once, options.threads)))) {
  V4I_CHECK(options.threads >= 1);
  state_->before_take = options.before_take;
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
      ++size_;
      const std::lock_guard lock(state_->mutex);
      ++state_->started;
      ++state_->sleepers;
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

void ThreadPool::run_erased(Order order, std::int64_t n, std::int64_t work, Call call, void* body) {
  if (n <= 0) return;
  State& s = *state_;
  const std::int64_t sharers = s.sharers;
  s.counting = counting_;
  if (sharers == 1 || n == 1 || work < kWorthSharing || !s.has_company(work)) {
    s.run_pieces(0, [&] { call(body, 0, n, 0); });
  } else {
    const std::int64_t piece = std::clamp(work / (kPieces * sharers), kLeastPiece, kMostPiece);
    const std::int64_t wanted = order == Order::kSingle ? n
                                : work == kMuch         ? kPieces * sharers
                                                        : work / piece;
    PieceRanges::Run run{call, body, n, 0, 1, 1};
    run.pieces = std::clamp<std::int64_t>(wanted, 2, std::min(n, PieceRanges::kMost));
    if (order != Order::kSingle) run.at_a_time = std::max<std::int64_t>(1, kMostTaken / piece);
    if (order == Order::kAny) run.ranges = sharers;
    s.done_by_workers = 0;
    s.pieces.offer(run);
    s.wake_some();
    std::int64_t own = 0;
    while (const std::int64_t count = s.take(0)) own += count;
    s.wait_for_workers(run.pieces - own);
  }
  if (s.error == nullptr) return;
  s.error_piece = INT64_MAX;
  std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace v4i
