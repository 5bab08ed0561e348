// What the handles of the table point to, and how a call gets to the driver.
//
// Every call makes the device's primary context current for its own duration and then restores what
// the thread had: the host program may use CUDA itself.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_set>

#include "kernels/cuda/driver/error.h"
#include "kernels/cuda/driver/functions.h"
#include "kernels/cuda/plugin.h"

namespace v4i::kernels::cuda::driver {

// Things of one kind that the device still holds, so that close() can free them.
class Held {
 public:
  bool add(void* p) noexcept;     // false: no memory to remember it
  bool remove(void* p) noexcept;  // false: not held
  void* take_one() noexcept;      // null: none left

 private:
  std::mutex mutex_;
  std::unordered_set<void*> set_;
};

}  // namespace v4i::kernels::cuda::driver

struct v4i_cuda_device {
  using Held = v4i::kernels::cuda::driver::Held;

  v4i_cuda_device(const v4i::kernels::cuda::driver::Functions& functions, int n)
      : f(functions), number(n) {}
  void lose(const char* doing, const char* reason) noexcept;
  int say_lost() noexcept;  // V4I_CUDA_LOST and its sentence

  const v4i::kernels::cuda::driver::Functions& f;
  const int number;
  char name[96] = "";
  v4i::kernels::cuda::driver::DeviceNumber id = 0;
  v4i::kernels::cuda::driver::Context context = nullptr;
  v4i_cuda_info info{};                                           // as at open
  std::unique_ptr<v4i::kernels::cuda::driver::Module[]> modules;  // one per image
  int module_count = 0;
  std::atomic<bool> lost{false};
  Held memory, pinned, streams, events, graphs, kernels;

 private:
  std::mutex mutex_;  // of lost_
  char lost_[512] = "";
};

struct v4i_cuda_stream {
  v4i_cuda_device* device;
  v4i::kernels::cuda::driver::Stream stream;
  bool capturing;
};

struct v4i_cuda_event {
  v4i_cuda_device* device;
  v4i::kernels::cuda::driver::Event event;
};

struct v4i_cuda_graph {
  v4i_cuda_device* device;
  v4i::kernels::cuda::driver::GraphExec graph;
};

struct v4i_cuda_kernel {
  v4i_cuda_device* device;
  v4i::kernels::cuda::driver::Function function;
  std::size_t args_bytes;  // of its one argument
  std::size_t shared;      // bytes of dynamic shared memory it may have at most
  char name[64];
};

namespace v4i::kernels::cuda::driver {

// Makes the device's context current while it lives.
class Current {
 public:
  // `kUnrecorded`: for calls that are done at once even if the thread is writing a graph down.
  enum Kind { kRecorded, kUnrecorded };

  explicit Current(v4i_cuda_device& d, Kind kind = kRecorded);
  ~Current();
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  int code() const { return code_; }  // V4I_CUDA_OK, or why nothing can be called

 private:
  v4i_cuda_device& d_;
  int code_;
  bool pushed_ = false, exchanged_ = false;
  CaptureMode mode_{};
};

// Frees memory that is no longer Held.
void free_memory(v4i_cuda_device& d, void* p);
void free_pinned(v4i_cuda_device& d, void* host);

// The functions of the table, in the order of plugin.h.
int count(int* devices);
int open(int device, v4i_cuda_device** out);
void close(v4i_cuda_device* d);
int info(v4i_cuda_device* d, v4i_cuda_info* out);
int allocate(v4i_cuda_device* d, std::size_t bytes, void** out);
void release(v4i_cuda_device* d, void* p);
int allocate_pinned(v4i_cuda_device* d, std::size_t bytes, void** host, void** on_device);
void release_pinned(v4i_cuda_device* d, void* host);
int make_stream(v4i_cuda_device* d, v4i_cuda_stream** out);
void drop_stream(v4i_cuda_stream* s);
int wait_stream(v4i_cuda_stream* s);
int make_event(v4i_cuda_device* d, v4i_cuda_event** out);
void drop_event(v4i_cuda_event* e);
int record(v4i_cuda_stream* s, v4i_cuda_event* e);
int follow(v4i_cuda_stream* s, v4i_cuda_event* e);
int wait_event(v4i_cuda_event* e);
int event_ms(v4i_cuda_event* from, v4i_cuda_event* to, float* ms);
int copy(v4i_cuda_stream* s, void* to, const void* from, std::size_t bytes, int direction);
int fill(v4i_cuda_stream* s, void* to, int byte, std::size_t bytes);
int find_kernel(v4i_cuda_device* d, const char* name, v4i_cuda_kernel** out);
int launch(v4i_cuda_stream* s, v4i_cuda_kernel* k, const std::uint32_t blocks[3],
           std::uint32_t threads, std::size_t shared, const void* args, std::size_t args_bytes);
int begin_capture(v4i_cuda_stream* s);
int end_capture(v4i_cuda_stream* s, v4i_cuda_graph** out);
int launch_graph(v4i_cuda_stream* s, v4i_cuda_graph* g);
void drop_graph(v4i_cuda_graph* g);

}  // namespace v4i::kernels::cuda::driver
