// ReadQueue: queueing, waiting and cancelling, the same for both kinds.
#include "lib/store/read_queue.h"

#include <algorithm>
#include <cerrno>

#include "lib/base/error.h"
#include "lib/store/read_queue_impl.h"

namespace v4i::store {

namespace {

using State = ReadRequest::State;
constexpr std::uint64_t kLongest =
    3600ull * 1'000'000'000;  // of a wait, so that no clock overflows

std::unique_ptr<ReadQueue::Impl> make(ReadQueue::Options o) {
  o.depth = std::clamp(o.depth, 1u, 4096u);
  o.hints = std::clamp(o.hints, 1u, o.depth);
  o.threads = std::clamp(o.threads, 1u, 256u);
  if (o.kind != ReadQueue::Kind::kThreads) {
    if (auto uring = make_uring_reads(o)) return uring;
    if (o.kind == ReadQueue::Kind::kUring)
      fail(Code::kUnsupported, "reads through io_uring: the build or the kernel does not offer it");
  }
  return make_thread_reads(o);
}

}  // namespace

void RequestList::push_back(ReadRequest& r) noexcept {
  r.previous = last_;
  r.next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = &r;
  last_ = &r;
  ++size_;
}

void RequestList::remove(ReadRequest& r) noexcept {
  (r.previous == nullptr ? first_ : r.previous->next) = r.next;
  (r.next == nullptr ? last_ : r.next->previous) = r.previous;
  r.next = r.previous = nullptr;
  --size_;
}

ReadRequest* ReadQueue::Impl::next(unsigned depth) noexcept {
  if (running >= depth) return nullptr;
  ReadRequest* r = demand.first();
  if (r != nullptr) {
    demand.remove(*r);
  } else {
    r = hints.first();
    if (r == nullptr || running_hints >= options.hints) return nullptr;
    hints.remove(*r);
    ++running_hints;
  }
  ++running;
  r->state.store(State::kRunning, std::memory_order_relaxed);
  return r;
}

bool ReadQueue::Impl::step(ReadRequest& r, std::int64_t result) noexcept {
  // ECANCELED: io_uring drops what a thread has begun when that thread ends.
  if (result == -EINTR || result == -EAGAIN || result == -ECANCELED) return false;
  if (result < 0) {
    // After a short read that ended inside of a sector, O_DIRECT refuses to go on: the file ends.
    const bool ended = result == -EINVAL && r.read % 512 != 0;
    r.error = ended ? 0 : static_cast<int>(-result);
    return true;
  }
  r.read += static_cast<std::size_t>(result);
  return result == 0 || r.read >= r.bytes;
}

void ReadQueue::Impl::finish(ReadRequest& r) noexcept {
  --running;
  if (r.hint) {
    --running_hints;
    ++stats.hints;
  }
  ++stats.reads;
  stats.bytes += r.read;
  if (r.error != 0) ++stats.errors;
  finished.fetch_add(1, std::memory_order_relaxed);
  r.state.store(State::kDone, std::memory_order_release);
}

ReadQueue::ReadQueue() : ReadQueue(Options{}) {}
ReadQueue::ReadQueue(const Options& options) : impl_(make(options)) {}

ReadQueue::~ReadQueue() {
  Impl::Lock lock(impl_->mutex);
  for (RequestList* list : {&impl_->demand, &impl_->hints})
    while (ReadRequest* r = list->first()) {
      list->remove(*r);
      r->state.store(State::kIdle, std::memory_order_release);
    }
  while (impl_->running > 0) {
    impl_->collect();
    if (impl_->running > 0) impl_->sleep(lock, Impl::Clock::now() + std::chrono::milliseconds(100));
  }
}

ReadQueue::Kind ReadQueue::kind() const { return impl_->kind(); }

void ReadQueue::submit(std::span<ReadRequest* const> requests, bool hint) {
  const Impl::Lock lock(impl_->mutex);
  for (ReadRequest* r : requests) {
    const State state = r->state.load(std::memory_order_relaxed);
    V4I_CHECK(state == State::kIdle || state == State::kDone);
    r->error = 0;
    r->read = 0;
    r->hint = hint;
    r->state.store(State::kQueued, std::memory_order_relaxed);
    (hint ? impl_->hints : impl_->demand).push_back(*r);
  }
  impl_->pump();
}

void ReadQueue::promote(ReadRequest& request) noexcept {
  const Impl::Lock lock(impl_->mutex);
  if (!request.hint || request.state.load(std::memory_order_relaxed) != State::kQueued) return;
  impl_->hints.remove(request);
  request.hint = false;
  impl_->demand.push_back(request);
  impl_->pump();
}

bool ReadQueue::cancel(ReadRequest& request) noexcept {
  const Impl::Lock lock(impl_->mutex);
  const State state = request.state.load(std::memory_order_acquire);
  if (state == State::kIdle) return true;
  if (state != State::kQueued) return false;
  (request.hint ? impl_->hints : impl_->demand).remove(request);
  request.state.store(State::kIdle, std::memory_order_release);
  ++impl_->stats.cancelled;
  return true;
}

bool ReadQueue::wait(ReadRequest& request, std::uint64_t timeout_ns) {
  if (request.done()) return true;
  promote(request);
  const auto until = Impl::Clock::now() + std::chrono::nanoseconds(std::min(timeout_ns, kLongest));
  Impl::Lock lock(impl_->mutex);
  for (;;) {
    impl_->collect();
    if (request.done()) return true;
    if (request.state.load(std::memory_order_relaxed) == State::kIdle) return false;
    if (Impl::Clock::now() >= until) return false;
    impl_->sleep(lock, until);
  }
}

void ReadQueue::progress(std::uint64_t timeout_ns, std::uint64_t finished) {
  Impl::Lock lock(impl_->mutex);
  impl_->collect();
  if (timeout_ns == 0) return;
  const auto until = Impl::Clock::now() + std::chrono::nanoseconds(std::min(timeout_ns, kLongest));
  while (impl_->finished.load(std::memory_order_relaxed) == finished && !impl_->idle() &&
         Impl::Clock::now() < until)
    impl_->sleep(lock, until);
}

std::uint64_t ReadQueue::finished() const noexcept {
  return impl_->finished.load(std::memory_order_relaxed);
}

ReadQueue::Stats ReadQueue::stats() const {
  const Impl::Lock lock(impl_->mutex);
  return impl_->stats;
}

}  // namespace v4i::store
