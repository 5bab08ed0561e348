// PieceRanges: the pieces of a run, which threads take without waiting for each other.
//
// Pieces lie in ranges, one for each thread that works at the same time.  A thread takes from its
// home range first, so that what it wrote in the run before is still in its caches, then from the
// others.  Within a range pieces are taken in rising order.
//
// The next piece of a range and the number of the run share a 64-bit word.  A taker reads the word,
// then what the run is, and exchanges the word for one with a higher piece.  That fails when
// another run has begun meanwhile; so whoever has a piece has read the run it belongs to, and
// whoever has none may be late by any time.
//
// offer() by one thread, when all pieces of the run before are done; take() by any.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace v4i {

class PieceRanges {
 public:
  using Call = void (*)(void* body, std::int64_t begin, std::int64_t end, int thread);
  static constexpr std::int64_t kMost = 0xfffe;  // pieces of a run

  struct Run {
    Call call = nullptr;
    void* body = nullptr;
    std::int64_t n = 0, pieces = 0;
    std::int64_t at_a_time = 1;  // pieces that are taken together, at most
    std::int64_t ranges = 1;     // 1: all pieces are taken in rising order
  };
  struct Taken {
    Run run;
    std::int64_t first = 0, count = 0;

    std::int64_t begin() const { return run.n * first / run.pieces; }
    std::int64_t end() const { return run.n * (first + count) / run.pieces; }
  };

  explicit PieceRanges(std::size_t ranges) : words_(ranges) {}

  // Differs from run to run.
  std::uint64_t number() const { return words_[0].value.load() >> kPieceBits; }

  void offer(const Run& run) {
    const std::uint64_t closed = number() + 1, open = closed + 1;
    for (Word& w : words_) w.value.store(closed << kPieceBits | kNone);
    call_.store(run.call, std::memory_order_release);
    body_.store(run.body, std::memory_order_release);
    n_.store(run.n, std::memory_order_release);
    pieces_.store(run.pieces, std::memory_order_release);
    at_a_time_.store(run.at_a_time, std::memory_order_release);
    ranges_.store(run.ranges, std::memory_order_release);
    for (std::int64_t r = run.ranges - 1; r >= 0; --r)  // the first is the one that takers watch
      words_[static_cast<std::size_t>(r)].value.store(open << kPieceBits |
                                                      static_cast<std::uint64_t>(begin_of(run, r)));
  }

  // False when no range has a piece left.
  bool take(std::int64_t home, Taken* out) {
    const std::int64_t ranges = ranges_.load(std::memory_order_acquire);
    for (std::int64_t i = 0; i < ranges; ++i)
      if (take_from((home + i) % ranges, out)) return true;
    return false;
  }

  // About how many pieces are left.
  std::int64_t left() const {
    const Run run = read();
    std::int64_t sum = 0;
    for (std::int64_t r = 0; r < run.ranges; ++r)
      sum += std::max<std::int64_t>(begin_of(run, r + 1) - next_of(r), 0);
    return sum;
  }

 private:
  static constexpr int kPieceBits = 16;
  static constexpr std::uint64_t kNone = (1u << kPieceBits) - 1;  // while a run is set up
  struct alignas(64) Word {
    std::atomic<std::uint64_t> value{kNone};
  };

  static std::int64_t begin_of(const Run& run, std::int64_t range) {
    return run.pieces * range / run.ranges;
  }
  std::int64_t next_of(std::int64_t range) const {
    return static_cast<std::int64_t>(words_[static_cast<std::size_t>(range)].value.load() & kNone);
  }
  Run read() const {
    return {call_.load(std::memory_order_acquire),      body_.load(std::memory_order_acquire),
            n_.load(std::memory_order_acquire),         pieces_.load(std::memory_order_acquire),
            at_a_time_.load(std::memory_order_acquire), ranges_.load(std::memory_order_acquire)};
  }

  // Half of what is left in the range while that is much, so that thieves find something, too.
  // What is read of the run belongs to the word: a value of a later run would have been written
  // after the word was closed, and the exchange would fail.
  bool take_from(std::int64_t range, Taken* out) {
    std::atomic<std::uint64_t>& word = words_[static_cast<std::size_t>(range)].value;
    std::uint64_t seen = word.load(std::memory_order_acquire);
    for (;;) {
      const Run run = read();
      const auto first = static_cast<std::int64_t>(seen & kNone);
      if (range >= run.ranges) return false;  // of another run than take() has seen
      const std::int64_t last = begin_of(run, range + 1);
      if (first >= last) return false;
      const std::int64_t count =
          std::clamp<std::int64_t>((last - first) / (2 * share_of(run)), 1, run.at_a_time);
      if (!word.compare_exchange_weak(seen, seen + static_cast<std::uint64_t>(count))) continue;
      *out = {run, first, count};
      return true;
    }
  }
  // Threads that take from one range, by and large.
  std::int64_t share_of(const Run& run) const {
    return run.ranges > 1 ? 1 : static_cast<std::int64_t>(words_.size());
  }

  std::vector<Word> words_;
  std::atomic<Call> call_{nullptr};
  std::atomic<void*> body_{nullptr};
  std::atomic<std::int64_t> n_{0}, pieces_{0}, at_a_time_{1}, ranges_{1};
};

}  // namespace v4i
