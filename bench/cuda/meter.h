// How kernels are measured on a device: memory full of valid weights, graphs of many launches, and
// a line of CSV for each.
//
// A measured launch finds its weights and KV rows in memory, not in a cache: launches follow one
// another over as many variants of them as hold kCold bytes.  They are captured as one graph, which
// is started several times between events; the time of a launch is that of the graph by its
// launches, so it has in it what lies between two launches of a graph.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/types.h"
#include "lib/forward/cuda/device.h"

namespace v4i::bench::cuda {

namespace kc = kernels::cuda;
namespace fc = forward::cuda;

// Shapes of the model: V4-Flash, or small ones to try the program itself.
struct Shapes {
  int width = 4096, heads = 64, dim = 512, rope = 64, q_lora = 1024;
  int o_groups = 8, o_lora = 1024, experts = 256, choices = 6, expert_width = 2048;
  int index_heads = 64, index_dim = 128, topk = 512, window = 128, vocab = 129280, hc = 4;
  std::vector<int> few = {1, 2, 4, 8, 16}, many = {64, 512, 4096};
  std::vector<std::int64_t> contexts = {4096, 131072, 1048576};

  static Shapes small();
  int row_bytes() const { return (dim - rope) + 2 * rope + ((dim - rope) / 64 + 7) / 8 * 8; }
  int key_bytes() const { return index_dim / 2 + index_dim / 32; }
  std::vector<int> tokens() const;  // few, then many
};

// What is measured.
struct Case {
  std::string kernel, shape;
  int tokens = 1;
  double bytes = 0;  // that a launch must read from memory or write there
  double flops = 0;
  double cold = 0;  // bytes of a variant: weights, KV rows; 0: one variant is enough
};

// Device memory that is handed out piece by piece, round and round.
class Ring {
 public:
  Ring(std::shared_ptr<fc::Device> device, Budget& budget, std::size_t bytes, const char* what)
      : buffer_(std::move(device), budget, Use::kScratch, bytes, what) {}
  std::uint8_t* next(std::size_t bytes);  // aligned to 256; Error(kNoMemory) when it is larger
  void restart() { at_ = 0; }
  // Only until the next restart(): the rest, without going round.
  std::uint8_t* take(std::size_t bytes);
  std::uint8_t* data() const { return buffer_.data(); }
  std::size_t bytes() const { return buffer_.bytes(); }

 private:
  fc::DeviceBuffer buffer_;
  std::size_t at_ = 0;
};

struct MeterOptions {
  std::string library;     // the plug-in; empty: beside this program
  bool dry = false;        // small shapes, few repetitions
  double peak_tflops = 0;  // of bf16 products with float32 sums, measured elsewhere; 0: not known
  std::FILE* csv = stdout;
};

class Meter {
 public:
  explicit Meter(const MeterOptions& options);

  const Shapes& shapes() const { return shapes_; }
  const v4i_cuda_info& info() const { return device_->info(); }
  bool dry() const { return options_.dry; }
  const std::shared_ptr<fc::Device>& device() const { return device_; }
  Budget& budget() { return budget_; }

  // launch(stream, v): the launches of variant v.  Prints a line; returns microseconds (median).
  using Launches = std::function<void(const fc::Stream& stream, int variant)>;
  double measure(const Case& c, const Launches& launches);
  // What could not be measured, and why; on stderr.  Where memory is missing it is left out, else
  // it counts as a failure, and a device that is lost ends the family with an Error.
  void failed(const Case& c, const std::exception& why);
  int failures() const { return failures_; }
  int variants(const Case& c) const;  // that measure() asks for

  // A case begins: what floats(), room() and copy_of() gave is free again.
  void begin();
  const float* floats(std::int64_t count);  // bf16 values of about unit size
  template <class T = float>
  T* room(std::int64_t count) {  // to be written
    return reinterpret_cast<T*>(room_.take(static_cast<std::size_t>(count) * sizeof(T)));
  }
  // Weights of random codes, at another place each time.
  kc::Matrix matrix(WeightFormat format, int rows, int cols);
  const std::uint8_t* codes(std::size_t bytes) { return codes_.next(bytes); }
  const std::uint8_t* scales(std::size_t bytes) { return scales_.next(bytes); }
  template <class T>
  T* copy_of(const std::vector<T>& host) {
    return reinterpret_cast<T*>(upload(host.data(), host.size() * sizeof(T)));
  }

  // The floors; measured first.
  double bandwidth = 0;  // bytes/s that a copy on the device reads and writes

 private:
  static constexpr double kCold = 256e6;
  std::uint8_t* upload(const void* host, std::size_t bytes);
  void fill(const Ring& ring, const std::function<std::uint64_t()>& word);
  std::vector<double> times(const Case& c, const Launches& launches, int count, int replays);
  void print(const Case& c, std::vector<double> us);

  int failures_ = 0;
  MeterOptions options_;
  Shapes shapes_;
  Budget budget_;
  std::shared_ptr<fc::Device> device_;
  fc::Stream stream_;
  Ring codes_, bf16_, scales_, floats_, room_, control_;
};

std::string shape_name(int rows, int cols, WeightFormat format);
const char* format_name(WeightFormat format);
// Bytes of a matrix as it is stored: codes and scales.
double matrix_bytes(const kc::Matrix& m);

}  // namespace v4i::bench::cuda
