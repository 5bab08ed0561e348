// Peaks: what this machine's memory and arithmetic can do, measured beside the model.
//
// Bounds, so they are measured the way that flatters the machine: wide loads from
// large pages that each thread touched first, and a loop that never leaves the
// registers.  Chosen by cpuid, with plain C++ where nothing better is known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cli {

class Peaks {
 public:
  explicit Peaks(int threads);
  ~Peaks();
  Peaks(const Peaks&) = delete;
  Peaks& operator=(const Peaks&) = delete;

  // One sample of each, of all threads together, 10 to 50 ms.  Samples are kept.
  double read();   // bytes/s
  double flops();  // flop/s, 2 per multiplication and addition

  double read_median() const;
  double flops_median() const;
  const std::vector<double>& reads() const { return reads_; }
  // What flops() counts: "bf16 dot, avx512_bf16", "float32 fma, avx2", ...
  const std::string& flops_kind() const { return kind_; }
  int threads() const { return static_cast<int>(shares_.size()); }
  std::uint64_t buffer_bytes() const;  // resident, and no part of what is measured

 private:
  struct Share;  // one thread's buffer
  using Read = std::uint64_t (*)(const std::byte* data, std::size_t bytes);
  using Flops = double (*)(std::int64_t rounds);  // returns the flops done

  std::vector<std::unique_ptr<Share>> shares_;
  Read read_;
  Flops flops_;
  std::string kind_;
  std::vector<double> reads_, flop_samples_;
};

double median(std::vector<double> values);  // 0 for none

}  // namespace cli
