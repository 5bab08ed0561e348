// Reads through io_uring.
//
// One thread at a time, the leader, sleeps on the ring and takes what has finished; whoever waits
// besides is woken by it.  So nobody sleeps on a ring that another has just emptied.
#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "lib/base/error.h"
#include "lib/store/read_queue_impl.h"

#ifdef V4I_HAS_URING
#include <liburing.h>
#endif

namespace v4i::store {

#ifdef V4I_HAS_URING

namespace {

constexpr std::size_t kMost = std::size_t{1} << 30;  // bytes of one read

class UringReads final : public ReadQueue::Impl {
 public:
  explicit UringReads(const ReadQueue::Options& o) : Impl(o) {
    io_uring_params params{};
    if (io_uring_queue_init_params(o.depth, &ring_, &params) < 0) return;
    // Of Linux 5.7: IORING_OP_READ is there since 5.6, completions are never dropped since 5.5.
    works_ = (params.features & IORING_FEAT_FAST_POLL) != 0;
    if (!works_) io_uring_queue_exit(&ring_);
  }
  ~UringReads() override {
    if (works_) io_uring_queue_exit(&ring_);
  }
  bool works() const { return works_; }

  ReadQueue::Kind kind() const override { return ReadQueue::Kind::kUring; }

  void pump() override {
    while (ReadRequest* r = next(options.depth)) {
      if (r->bytes == 0)
        finish(*r);
      else
        begin(*r);
    }
    hand_over();
  }

  void collect() override {
    if (led_) return;  // the leader is about to
    bool more = false;
    io_uring_cqe* cqe;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      auto* r = static_cast<ReadRequest*>(io_uring_cqe_get_data(cqe));
      const std::int64_t result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (step(*r, result))
        finish(*r);
      else
        begin(*r);
      more = true;
    }
    if (more)
      pump();
    else
      hand_over();
  }

  void sleep(Lock& lock, Clock::time_point until) override {
    if (led_) {
      changed.wait_until(lock, until);
      return;
    }
    // What the kernel would not take just now is offered again soon.
    if (io_uring_sq_ready(&ring_) > 0)
      until = std::min(until, Clock::now() + std::chrono::milliseconds(1));
    led_ = true;
    lock.unlock();
    poll_ring(until);
    lock.lock();
    led_ = false;
    collect();
    changed.notify_all();
  }

 private:
  // There is always an entry: no more than `depth` requests run, and each has one at a time.
  void begin(ReadRequest& r) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    V4I_CHECK(sqe != nullptr);
    const auto rest = static_cast<unsigned>(std::min(r.bytes - r.read, kMost));
    io_uring_prep_read(sqe, r.fd, r.to + r.read, rest, r.offset + r.read);
    io_uring_sqe_set_data(sqe, &r);
  }

  void hand_over() {
    while (io_uring_sq_ready(&ring_) > 0) {
      const int n = io_uring_submit(&ring_);
      if (n <= 0 && n != -EINTR) return;  // it stays in the ring for another time
    }
  }

  void poll_ring(Clock::time_point until) const {
    const auto left =
        std::chrono::duration_cast<std::chrono::nanoseconds>(until - Clock::now()).count();
    timespec ts{};
    if (left > 0) {
      ts.tv_sec = left / 1'000'000'000;
      ts.tv_nsec = left % 1'000'000'000;
    }
    pollfd fd{ring_.ring_fd, POLLIN, 0};
    ::ppoll(&fd, 1, &ts, nullptr);
  }

  io_uring ring_{};
  bool works_ = false;
  bool led_ = false;
};

}  // namespace

std::unique_ptr<ReadQueue::Impl> make_uring_reads(const ReadQueue::Options& options) {
  auto reads = std::make_unique<UringReads>(options);
  if (!reads->works()) return nullptr;
  return reads;
}

#else

std::unique_ptr<ReadQueue::Impl> make_uring_reads(const ReadQueue::Options&) { return nullptr; }

#endif

}  // namespace v4i::store
