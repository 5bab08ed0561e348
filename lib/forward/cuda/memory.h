// Where the CUDA backend keeps KV rows: a store::Memory on the device.
//
// Released blocks are kept and given out again by size: the driver's own release waits for the
// device.  Copies have a stream of their own: an executor waits for what is on it when a run begins
// (follow_copies), and its own work is done when a run has ended.
//
// Any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/forward/cuda/device.h"
#include "lib/store/memory.h"

namespace v4i::forward::cuda {

class DeviceMemory final : public store::Memory {
 public:
  DeviceMemory(std::shared_ptr<Device> device, Budget& budget);
  ~DeviceMemory() override;

  Place place() const override { return Place::kDevice; }
  Budget& budget() override { return *budget_; }
  std::byte* allocate(std::size_t bytes, const char* what) override;
  void release(std::byte* p, std::size_t bytes) noexcept override;
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void upload(std::byte* to, const void* from, std::size_t bytes) override;
  void download(void* to, const std::byte* from, std::size_t bytes) override;

  // Gives what is kept back to the driver; false when there was nothing.
  bool drop_kept() noexcept;
  // Later work of `stream` waits for what was asked for here.
  void follow_copies(const Stream& stream);

 private:
  void* kept(std::size_t bytes);

  std::shared_ptr<Device> device_;
  Stream stream_;
  Event copied_;
  Budget* budget_;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> kept_;  // by size
};

}  // namespace v4i::forward::cuda
