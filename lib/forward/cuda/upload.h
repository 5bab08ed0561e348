// Upload: matrices and small tensors of a checkpoint on their way to the device.
//
// Everything is copied through one pinned buffer, half by half, so that the next piece is packed
// while the last one travels.  Matrices get rows of whole 64-byte pieces (kernels/cuda/types.h).
//
// One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/types.h"
#include "lib/forward/cuda/device.h"
#include "lib/tensor/weight.h"

namespace v4i::forward::cuda {

class Upload {
 public:
  Upload(std::shared_ptr<Device> device, const Stream& stream, Budget& budget);

  // What a matrix takes on the device: its padded rows, then its scales.
  static std::size_t matrix_bytes(const Weight& w);
  // The matrix at `to`, matrix_bytes() of the device's memory.
  kernels::cuda::Matrix matrix_at(const Weight& w, std::uint8_t* to);

  // In memory of their own, appended to `owners`.
  kernels::cuda::Matrix matrix(const Weight& w, std::vector<DeviceBuffer>* owners);
  const float* vector(std::span<const float> x, std::vector<DeviceBuffer>* owners);
  const std::int32_t* vector(std::span<const std::int32_t> x, std::vector<DeviceBuffer>* owners);
  void bytes(std::uint8_t* to, const void* from, std::size_t n);
  void finish();  // everything has arrived; nothing more will be sent

 private:
  static constexpr std::size_t kHalf = std::size_t{8} << 20;
  std::uint8_t* half();  // a half of the pinned buffer that nothing reads any more
  void send(std::uint8_t* to, std::size_t n);

  std::shared_ptr<Device> device_;
  const Stream& stream_;
  Budget& budget_;
  PinnedBuffer pinned_;
  Event sent_[2];
  bool waiting_[2] = {};
  int next_ = 0;
};

}  // namespace v4i::forward::cuda
