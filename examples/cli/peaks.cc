// Peaks: threads and timing; the loops are in peak_loops.cc.  See peaks.h.
#include "peaks.h"

#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <new>
#include <thread>

#include "peak_loops.h"

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kShareBytes = std::size_t{192} << 20;  // far beyond any cache
constexpr int kPasses = 2;                                   // over it, per sample
constexpr std::int64_t kRounds = 1 << 22;                    // of the register loop

// Runs `body(thread)` on every thread at once: seconds from the first start to the last end, by
// the threads' own clocks (the one that waits here may wake up late).
double together(std::size_t threads, const std::function<void(std::size_t)>& body) {
  std::barrier start(static_cast<std::ptrdiff_t>(threads));
  std::vector<std::thread> workers;
  std::vector<Clock::time_point> begin(threads), end(threads);
  for (std::size_t t = 0; t < threads; ++t)
    workers.emplace_back([&, t] {
      start.arrive_and_wait();
      begin[t] = Clock::now();
      body(t);
      end[t] = Clock::now();
    });
  for (std::thread& w : workers) w.join();
  return std::chrono::duration<double>(*std::max_element(end.begin(), end.end()) -
                                       *std::min_element(begin.begin(), begin.end()))
      .count();
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

struct Peaks::Share {
  Share() {
    void* p =
        ::mmap(nullptr, kShareBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    data = static_cast<std::byte*>(p);
#ifdef MADV_HUGEPAGE
    ::madvise(p, kShareBytes, MADV_HUGEPAGE);  // a wish; without it the bound is a little lower
#endif
  }
  ~Share() { ::munmap(data, kShareBytes); }
  std::byte* data;
  std::uint64_t sum = 0;
  double flops = 0;
};

Peaks::Peaks(int threads) {
  for (int t = 0; t < std::max(threads, 1); ++t) shares_.push_back(std::make_unique<Share>());
  together(shares_.size(), [&](std::size_t t) {
    std::fill_n(shares_[t]->data, kShareBytes, std::byte{static_cast<unsigned char>(t + 1)});
  });
  const PeakLoops loops = peak_loops();
  read_ = loops.read;
  flops_ = loops.flops;
  kind_ = loops.flops_kind;
}

Peaks::~Peaks() = default;

std::uint64_t Peaks::buffer_bytes() const { return shares_.size() * kShareBytes; }

double Peaks::read() {
  const double seconds = together(shares_.size(), [&](std::size_t t) {
    for (int i = 0; i < kPasses; ++i) shares_[t]->sum += read_(shares_[t]->data, kShareBytes);
  });
  reads_.push_back(static_cast<double>(kPasses * buffer_bytes()) / seconds);
  return reads_.back();
}

double Peaks::flops() {
  const double seconds =
      together(shares_.size(), [&](std::size_t t) { shares_[t]->flops = flops_(kRounds); });
  double done = 0;
  for (const auto& share : shares_) done += share->flops;
  flop_samples_.push_back(done / seconds);
  return flop_samples_.back();
}

double Peaks::read_median() const { return median(reads_); }
double Peaks::flops_median() const { return median(flop_samples_); }

}  // namespace cli
