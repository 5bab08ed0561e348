// A CUDA device and what lies on it, with owners and exceptions: the plug-in's table
// (kernels/cuda/plugin.h) as C++.
//
// Every call may throw Error: kNoMemory, kUnsupported (no such device), kDevice (the device is
// lost, or a call failed); the text begins with `backend "cuda:0": `.  Destructors never throw. All
// that is made on a device keeps it open.  Any thread; calls on one stream are in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "kernels/cuda/launch.h"
#include "lib/base/budget.h"
#include "lib/forward/cuda/library.h"

namespace v4i::forward::cuda {

class Device {
 public:
  // Error(kUnsupported): no driver, no device of this number, or one that is too old.
  static std::shared_ptr<Device> open(std::shared_ptr<const Library> library, int number);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }    // "cuda:0"
  const v4i_cuda_info& info() const { return info_; }  // as it was at open
  std::uint64_t free_bytes() const;                    // now
  v4i_cuda_kernel* kernel(const char* name);           // looked up once
  const v4i_cuda_api& api() const { return library_->api(); }
  v4i_cuda_device* handle() const { return handle_; }
  // Throws what the code of a call stands for; `doing` goes before the reason.
  void check(int code, const char* doing = "") const {
    if (code != V4I_CUDA_OK) failed(code, doing);
  }

 private:
  Device(std::shared_ptr<const Library> library, int number);
  [[noreturn]] void failed(int code, const char* doing) const;

  std::shared_ptr<const Library> library_;
  std::string name_;
  v4i_cuda_device* handle_ = nullptr;
  v4i_cuda_info info_{};
  std::mutex mutex_;  // of kernels_
  std::unordered_map<std::string, v4i_cuda_kernel*> kernels_;
};

// The owner of one handle of the table.
template <class T, void (*v4i_cuda_api::*drop)(T*)>
class Handle {
 public:
  Handle() = default;
  Handle(std::shared_ptr<Device> device, T* handle) : device_(std::move(device)), handle_(handle) {}
  ~Handle() { reset(); }
  Handle(Handle&& o) noexcept
      : device_(std::move(o.device_)), handle_(std::exchange(o.handle_, nullptr)) {}
  Handle& operator=(Handle&& o) noexcept {
    if (this != &o) {
      reset();
      device_ = std::move(o.device_);
      handle_ = std::exchange(o.handle_, nullptr);
    }
    return *this;
  }
  void reset() noexcept {
    if (handle_ != nullptr) (device_->api().*drop)(std::exchange(handle_, nullptr));
    device_.reset();
  }
  explicit operator bool() const { return handle_ != nullptr; }
  T* get() const { return handle_; }
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  std::shared_ptr<Device> device_;
  T* handle_ = nullptr;
};

class Event : public Handle<v4i_cuda_event, &v4i_cuda_api::drop_event> {
 public:
  Event() = default;
  explicit Event(std::shared_ptr<Device> device);
  void wait() const;                                  // until it has happened
  float milliseconds_since(const Event& from) const;  // both have happened
};

// Written down once, launched many times.  Made by Capture.
class Graph : public Handle<v4i_cuda_graph, &v4i_cuda_api::drop_graph> {
 public:
  using Handle::Handle;
};

class Stream : public Handle<v4i_cuda_stream, &v4i_cuda_api::drop_stream> {
 public:
  Stream() = default;
  explicit Stream(std::shared_ptr<Device> device);

  void wait() const;  // until everything on it is done
  void record(const Event& event) const;
  void follow(const Event& event) const;  // later work waits for it

  // Host memory must be pinned for a copy to be asynchronous, and stays untouched until it is done.
  void upload(void* to, const void* from, std::size_t bytes) const;    // host to device
  void download(void* to, const void* from, std::size_t bytes) const;  // device to host
  void copy(void* to, const void* from, std::size_t bytes) const;      // within the device
  void fill(void* to, int byte, std::size_t bytes) const;

  // Starts a kernel by its name; nothing where it has none.
  template <class Args>
  void launch(const kernels::cuda::Launch& launch, const Args& args) const {
    static_assert(std::is_trivially_copyable_v<Args>);
    if (launch.kernel != nullptr) launch_bytes(launch, &args, sizeof(Args));
  }
  void launch(const Graph& graph) const;

 private:
  void launch_bytes(const kernels::cuda::Launch& launch, const void* args, std::size_t bytes) const;
};

// While it lives, calls on the stream and on streams that follow it are written down, not done.
// Kernels that are launched for the first time are looked up as usual.
class Capture {
 public:
  explicit Capture(const Stream& stream);
  ~Capture();  // forgets what was written down, unless end() was called
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  Graph end();

 private:
  const Stream* stream_;
};

// Bytes that a device gave, taken from the budget as kPlace.
//   kDevice  memory of the device, aligned to 256, not zeroed
//   kPinned  memory of the host that the device reads and writes too
template <Place kPlace>
class PlacedBuffer {
 public:
  static constexpr bool kOnHost = kPlace == Place::kPinned;
  static_assert(kOnHost || kPlace == Place::kDevice);

  PlacedBuffer() = default;
  PlacedBuffer(std::shared_ptr<Device> device, Budget& budget, Use use, std::size_t bytes,
               const char* what);
  ~PlacedBuffer() { reset(); }
  PlacedBuffer(PlacedBuffer&& o) noexcept { swap(o); }
  PlacedBuffer& operator=(PlacedBuffer&& o) noexcept {
    if (this != &o) {
      reset();
      swap(o);
    }
    return *this;
  }
  // An address of the device.
  std::uint8_t* data() const requires(!kOnHost) { return own_; }
  std::uint8_t* host() const requires kOnHost { return own_; }
  // The same bytes, as kernels see them.
  std::uint8_t* on_device() const requires kOnHost { return on_device_; }
  std::size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  template <class T>
  T* as() const {  // of data() or host()
    return reinterpret_cast<T*>(own_);
  }
  void reset() noexcept;
  void swap(PlacedBuffer& o) noexcept;

 private:
  std::shared_ptr<Device> device_;
  Budget* budget_ = nullptr;
  std::uint8_t* own_ = nullptr;
  std::uint8_t* on_device_ = nullptr;  // of kPinned
  std::size_t bytes_ = 0;
  Use use_ = Use::kScratch;
};
using DeviceBuffer = PlacedBuffer<Place::kDevice>;
using PinnedBuffer = PlacedBuffer<Place::kPinned>;

}  // namespace v4i::forward::cuda
