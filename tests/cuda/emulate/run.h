// What the tests of kernels use: buffers of exact size, schedules, and a launch.
//
// With V4I_ON_DEVICE the same tests run on a real device: tests/cuda/on_device.
//
//   for (std::uint64_t seed : emulate::schedules()) {
//     emulate::Buffer<float> out(n);
//     emulate::run(launch_products(args), args, seed);
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cuda/launch.h"
#include "tests/cuda/emulate/failure.h"

namespace v4i::emulate {

// Throws Failure with kernel, block, thread, schedule and reason.
void run_kernel(const kernels::cuda::Launch& launch, const void* args, std::size_t args_bytes,
                std::uint64_t seed);

// Runs all blocks of a launch.  Schedule 0 is in order; any other is drawn at random from the seed,
// which also chooses the byte that shared memory is poisoned with: 0xff (not a number), 0x7f
// (3.4e38 as float) or 0xab.  A launch without a kernel does nothing.
template <class Args>
void run(const kernels::cuda::Launch& launch, const Args& args, std::uint64_t seed) {
  static_assert(std::is_trivially_copyable_v<Args>);
  if (launch.kernel != nullptr) run_kernel(launch, &args, sizeof args, seed);
}

// Memory of a Buffer, aligned to 256.
void* take_memory(std::size_t bytes);
void give_memory(void* p, std::size_t bytes) noexcept;

// Seeds of schedules that a test runs: V4I_CUDA_SCHEDULES of them, each time others; 3 if not set,
// 1 for the race check, which sees what could happen under any, and 2 on a real device;
// V4I_CUDA_SEED (the number in a failure's message) repeats from that one on.
inline std::vector<std::uint64_t> schedules() {
  const char* count = std::getenv("V4I_CUDA_SCHEDULES");
  const char* seed = std::getenv("V4I_CUDA_SEED");
#if defined(V4I_RACES)
  const std::size_t usual = 1;
#elif defined(V4I_ON_DEVICE)
  const std::size_t usual = 2;
#else
  const std::size_t usual = 3;
#endif
  std::vector<std::uint64_t> seeds(count != nullptr ? std::strtoul(count, nullptr, 10) : usual);
  std::uint64_t next = seed != nullptr ? std::strtoull(seed, nullptr, 10) : std::random_device()();
  for (std::uint64_t& s : seeds) s = next++;
  return seeds;
}

// Device memory of exact size, so that AddressSanitizer sees the first byte behind it; aligned to
// 256, and filled with 0xab where nothing else is given.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  static constexpr int kPoison = 0xab;

  Buffer() : Buffer(0) {}
  explicit Buffer(std::size_t count)
      : data_(static_cast<T*>(take_memory(count * sizeof(T)))), count_(count) {
    poison();
  }
  Buffer(std::size_t count, const T& value) : Buffer(count) { fill(value); }
  explicit Buffer(const std::vector<T>& v) : Buffer(v.size()) {
    if (!v.empty()) std::memcpy(static_cast<void*>(data_), v.data(), bytes());
  }
  Buffer(Buffer&& o) noexcept
      : data_(std::exchange(o.data_, nullptr)), count_(std::exchange(o.count_, 0)) {}
  Buffer& operator=(Buffer&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(count_, o.count_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) give_memory(data_, bytes());
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(T); }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + count_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + count_; }

  void poison(int byte = kPoison) {
    if (count_ != 0) std::memset(static_cast<void*>(data_), byte, bytes());
  }
  void fill(const T& value) {
    for (T& v : *this) v = value;
  }
  std::vector<T> vector() const { return std::vector<T>(begin(), end()); }
  bool same_bits(const Buffer& o) const {
    return count_ == o.count_ && (count_ == 0 || std::memcmp(data_, o.data_, bytes()) == 0);
  }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace v4i::emulate
