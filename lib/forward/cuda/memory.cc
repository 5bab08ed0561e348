// KV rows on the device; see memory.h.
#include "lib/forward/cuda/memory.h"

#include "lib/base/error.h"

namespace v4i::forward::cuda {

DeviceMemory::DeviceMemory(std::shared_ptr<Device> device, Budget& budget)
    : device_(std::move(device)), stream_(device_), copied_(device_), budget_(&budget) {}

DeviceMemory::~DeviceMemory() { drop_kept(); }

void* DeviceMemory::kept(std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  const auto found = kept_.find(bytes);
  if (found == kept_.end() || found->second.empty()) return nullptr;
  void* p = found->second.back();
  found->second.pop_back();
  return p;
}

bool DeviceMemory::drop_kept() noexcept {
  const std::scoped_lock lock(mutex_);
  bool any = false;
  for (auto& [bytes, list] : kept_) {
    for (void* p : list) device_->api().release(device_->handle(), p);
    any = any || !list.empty();
    list.clear();
  }
  return any;
}

std::byte* DeviceMemory::allocate(std::size_t bytes, const char* what) {
  if (bytes == 0) return nullptr;
  budget_->take(Place::kDevice, Use::kKv, bytes, what);
  void* p = kept(bytes);
  try {
    if (p == nullptr) {
      int code = device_->api().allocate(device_->handle(), bytes, &p);
      if (code == V4I_CUDA_NO_MEMORY && drop_kept())
        code = device_->api().allocate(device_->handle(), bytes, &p);
      device_->check(code, what);
    }
    stream_.fill(p, 0, bytes);
  } catch (...) {
    if (p != nullptr) device_->api().release(device_->handle(), p);
    budget_->give(Place::kDevice, Use::kKv, bytes);
    throw;
  }
  return static_cast<std::byte*>(p);
}

void DeviceMemory::release(std::byte* p, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  budget_->give(Place::kDevice, Use::kKv, bytes);
  try {
    const std::scoped_lock lock(mutex_);
    kept_[bytes].push_back(p);
  } catch (...) {
    device_->api().release(device_->handle(), p);
  }
}

void DeviceMemory::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  stream_.copy(to, from, bytes);
  stream_.wait();
}

void DeviceMemory::upload(std::byte* to, const void* from, std::size_t bytes) {
  stream_.upload(to, from, bytes);
  stream_.wait();
}

void DeviceMemory::download(void* to, const std::byte* from, std::size_t bytes) {
  stream_.download(to, from, bytes);
  stream_.wait();
}

void DeviceMemory::follow_copies(const Stream& stream) {
  const std::scoped_lock lock(mutex_);
  stream_.record(copied_);
  stream.follow(copied_);
}

}  // namespace v4i::forward::cuda
