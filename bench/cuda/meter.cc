// Memory, graphs and times of the kernel bench; see meter.h.
#include "bench/cuda/meter.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/formats.h"
#include "lib/base/error.h"

namespace v4i::bench::cuda {
namespace {

using Clock = std::chrono::steady_clock;

std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

std::size_t sized(bool dry, std::size_t bytes) { return dry ? std::size_t{4} << 20 : bytes; }

constexpr std::size_t kMega = std::size_t{1} << 20;

// Two floats with bf16 values between -2 and 2.
std::uint64_t two_floats(std::mt19937_64& random) {
  std::uint64_t word = 0;
  for (int i = 0; i < 2; ++i) {
    const float v = (static_cast<float>(random() % 65536) / 32768.0f - 1.0f) * 2.0f;
    word = word << 32 | kernels::to_bits(kernels::round_bf16(v));
  }
  return word;
}

}  // namespace

Shapes Shapes::small() {
  Shapes s;
  s.width = 256, s.heads = 16, s.dim = 128, s.rope = 64, s.q_lora = 128;
  s.o_groups = 2, s.o_lora = 64, s.experts = 8, s.choices = 2, s.expert_width = 128;
  s.index_heads = 16, s.topk = 32, s.window = 16, s.vocab = 512;
  s.few = {1, 16}, s.many = {64};
  s.contexts = {256, 4096};
  return s;
}

std::vector<int> Shapes::tokens() const {
  std::vector<int> all = few;
  all.insert(all.end(), many.begin(), many.end());
  return all;
}

std::uint8_t* Ring::next(std::size_t bytes) {
  if (at_ + aligned(bytes) > buffer_.bytes()) at_ = 0;
  return take(bytes);
}

std::uint8_t* Ring::take(std::size_t bytes) {
  if (at_ + aligned(bytes) > buffer_.bytes())
    fail(Code::kNoMemory, "{} more bytes do not fit into {}", bytes, buffer_.bytes());
  std::uint8_t* p = buffer_.data() + at_;
  at_ += aligned(bytes);
  return p;
}

Meter::Meter(const MeterOptions& options)
    : options_(options),
      shapes_(options.dry ? Shapes::small() : Shapes()),
      device_(fc::Device::open(fc::Library::open("cuda:0", options.library), 0)),
      stream_(device_),
      codes_(device_, budget_, sized(options.dry, 768 * kMega), "fp8 and fp4 weights"),
      bf16_(device_, budget_, sized(options.dry, 1100 * kMega), "bf16 weights"),
      scales_(device_, budget_, sized(options.dry, 64 * kMega), "scales"),
      floats_(device_, budget_, options.dry ? 16 * kMega : 1024 * kMega, "activations"),
      room_(device_, budget_, options.dry ? 64 * kMega : 2048 * kMega, "results"),
      control_(device_, budget_, sized(options.dry, 256 * kMega), "tables") {
  std::mt19937_64 random(1);
  // Bit 6 clear: no NaN in e4m3, values below 2 in e4m3, e2m1 and bf16.
  fill(codes_, [&] { return random() & 0xbfbfbfbfbfbfbfbfu; });
  fill(bf16_, [&] { return (random() & 0x807f807f807f807fu) | 0x3f003f003f003f00u; });
  // 2^-8 to 2^-5: sums of 4096 products stay small.
  fill(scales_, [&] { return (random() & 0x0303030303030303u) | 0x7474747474747474u; });
  fill(floats_, [&] { return two_floats(random); });
  std::fprintf(options_.csv,
               "kernel,shape,tokens,us,us_p10,us_p90,bytes,flops,GB/s,TFLOP/s,limit,share\n");
}

void Meter::fill(const Ring& ring, const std::function<std::uint64_t()>& word) {
  const std::size_t piece = std::min(ring.bytes(), options_.dry ? kMega : 16 * kMega);
  const fc::PinnedBuffer host(device_, budget_, Use::kScratch, piece, "random words");
  auto* words = host.as<std::uint64_t>();
  for (std::size_t i = 0; i < piece / 8; ++i) words[i] = word();
  for (std::size_t at = 0; at < ring.bytes(); at += piece)
    stream_.upload(ring.data() + at, host.host(), std::min(piece, ring.bytes() - at));
  stream_.wait();
}

void Meter::begin() {
  stream_.wait();
  floats_.restart();
  room_.restart();
  control_.restart();
}

const float* Meter::floats(std::int64_t count) {
  return reinterpret_cast<float*>(floats_.take(static_cast<std::size_t>(count) * sizeof(float)));
}

std::uint8_t* Meter::upload(const void* host, std::size_t bytes) {
  std::uint8_t* p = control_.take(std::max<std::size_t>(bytes, 1));
  stream_.upload(p, host, bytes);
  stream_.wait();
  return p;
}

kc::Matrix Meter::matrix(WeightFormat format, int rows, int cols) {
  kc::Matrix m;
  m.format = static_cast<std::int32_t>(format);
  m.rows = rows, m.cols = cols;
  m.row_bytes = kc::matrix_row_bytes(format, cols);
  const auto bytes = static_cast<std::size_t>(m.row_bytes) * static_cast<std::size_t>(rows);
  const bool coded = format == WeightFormat::kFp8 || format == WeightFormat::kFp4;
  m.data = format == WeightFormat::kF32 ? floats_.take(bytes)
           : coded                      ? codes_.next(bytes)
                                        : bf16_.next(bytes);
  if (!coded) return m;
  m.block_rows = format == WeightFormat::kFp8 ? 128 : 1;
  m.block_cols = format == WeightFormat::kFp8 ? 128 : 32;
  m.scale_cols = kc::divide_up(cols, m.block_cols);
  m.scale = scales_.next(static_cast<std::size_t>(m.scale_cols) *
                         static_cast<std::size_t>(kc::divide_up(rows, m.block_rows)));
  return m;
}

int Meter::variants(const Case& c) const {
  if (c.cold <= 0) return 1;
  const double wanted = std::ceil((options_.dry ? 1e4 : kCold) / c.cold);
  return static_cast<int>(std::clamp(wanted, 1.0, options_.dry ? 2.0 : 512.0));
}

double Meter::measure(const Case& c, const Launches& launches) {
  const int count = variants(c);
  const auto all = [&] {
    for (int v = 0; v < count; ++v) launches(stream_, v);
    stream_.wait();
  };
  all();  // kernels are loaded
  const auto start = Clock::now();
  all();
  const double once = std::chrono::duration<double>(Clock::now() - start).count() / count;
  int in_graph = count, replays = 2;
  if (!options_.dry) {
    in_graph = std::max(count, static_cast<int>(std::clamp(2e-3 / once, 1.0, 64.0)));
    replays = static_cast<int>(std::clamp(30e-3 / (once * in_graph), 5.0, 40.0));
  }
  std::vector<double> us = times(c, launches, in_graph, replays);
  const double median = us[us.size() / 2];
  print(c, std::move(us));
  return median;
}

// Microseconds of a launch, sorted, one for each replay of a graph of `count` launches.
std::vector<double> Meter::times(const Case& c, const Launches& launches, int count, int replays) {
  const int from = variants(c);
  fc::Capture capture(stream_);
  for (int i = 0; i < count; ++i) launches(stream_, i % from);
  const fc::Graph graph = capture.end();
  std::vector<fc::Event> events;
  for (int i = 0; i <= replays + 1; ++i) events.emplace_back(device_);
  for (int i = 0; i <= replays; ++i) {
    stream_.record(events[static_cast<std::size_t>(i)]);
    stream_.launch(graph);
  }
  stream_.record(events.back());
  stream_.wait();
  std::vector<double> us;
  for (std::size_t i = 1; i + 1 < events.size(); ++i)  // the first one warms up
    us.push_back(events[i + 1].milliseconds_since(events[i]) * 1e3 / count);
  std::sort(us.begin(), us.end());
  return us;
}

void Meter::print(const Case& c, std::vector<double> us) {
  const auto at = [&](double part) {
    return us[static_cast<std::size_t>(part * static_cast<double>(us.size() - 1) + 0.5)];
  };
  const double seconds = std::max(at(0.5) * 1e-6, 1e-12);
  const double memory = bandwidth > 0 ? c.bytes / bandwidth : 0;
  const double arithmetic = options_.peak_tflops > 0 ? c.flops / (options_.peak_tflops * 1e12) : 0;
  const double floor = std::max(memory, arithmetic);
  std::fprintf(options_.csv, "%s,\"%s\",%d,%.3f,%.3f,%.3f,%.0f,%.0f,%.2f,%.3f,%s,",
               c.kernel.c_str(), c.shape.c_str(), c.tokens, at(0.5), at(0.1), at(0.9), c.bytes,
               c.flops, c.bytes / seconds / 1e9, c.flops / seconds / 1e12,
               floor <= 0             ? ""
               : memory >= arithmetic ? "memory"
                                      : "arithmetic");
  if (floor > 0) std::fprintf(options_.csv, "%.3f", floor / seconds);
  std::fputc('\n', options_.csv);
  std::fflush(options_.csv);
}

void Meter::failed(const Case& c, const std::exception& why) {
  const auto* error = dynamic_cast<const Error*>(&why);
  const bool full = error != nullptr && error->code() == Code::kNoMemory;
  std::fprintf(stderr, "%s: %s %s, %d tokens: %s\n", full ? "left out" : "failed", c.kernel.c_str(),
               c.shape.c_str(), c.tokens, why.what());
  if (full) return;
  ++failures_;
  device_->free_bytes();
}

const char* format_name(WeightFormat format) {
  return format == WeightFormat::kF32    ? "f32"
         : format == WeightFormat::kBF16 ? "bf16"
         : format == WeightFormat::kFp8  ? "fp8"
                                         : "fp4";
}

std::string shape_name(int rows, int cols, WeightFormat format) {
  return fmt::format("{} {}x{}", format_name(format), rows, cols);
}

double matrix_bytes(const kc::Matrix& m) {
  const double scales =
      m.block_rows == 0 ? 0
                        : static_cast<double>(m.scale_cols) * kc::divide_up(m.rows, m.block_rows);
  return static_cast<double>(m.row_bytes) * m.rows + scales;
}

}  // namespace v4i::bench::cuda
