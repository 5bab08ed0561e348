// The emulated device behind kernels/cuda/plugin.h: its memory, and work that is issued to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/plugin.h"
#include "tests/cuda/emulate/core.h"
#include "tests/cuda/emulate/failure.h"

namespace v4i::emulate {

using Clock = std::chrono::steady_clock;

// What environment variables and v4i_cuda_emulate() ask for; see tests/cuda/README.md.
struct Wishes {
  long lose_after = -1;       // launches, then the device is lost; -1: never
  long no_memory_after = -1;  // bytes, then allocations fail
  bool no_driver = false;
  long devices = 1;
  bool wrong_build_id = false;
  bool late = false;       // streams run when somebody waits for them
  bool closed = false;     // device memory is closed to the host
  std::uint64_t seed = 0;  // of schedules
  int poison = 0xab;       // what memory is filled with
  std::uint64_t memory = std::uint64_t{8} << 30;
};
Wishes& wishes();

// What error() says.
void say(const std::string& what);
const char* said();

// An event as it was recorded once.
struct Moment {
  bool done = false;
  v4i_cuda_stream* stream = nullptr;  // whose work it ends; null when it is dropped
  v4i_cuda_graph* graph = nullptr;    // being captured
  std::size_t number = 0;             // in the graph
  Clock::time_point at;
};

struct Work {
  std::function<void()> run;       // null: it waits for `after`, or is `moment`
  std::shared_ptr<Moment> after;   // this one first
  std::shared_ptr<Moment> moment;  // done when this is reached
};

}  // namespace v4i::emulate

struct v4i_cuda_event {
  v4i_cuda_device* device;
  std::shared_ptr<v4i::emulate::Moment> last;  // null: never recorded
};

struct v4i_cuda_stream {
  v4i_cuda_device* device;
  std::deque<v4i::emulate::Work> queue;
  v4i_cuda_graph* capture = nullptr;  // being written down
};

// Work of several streams, as a list for each; the first one's is what launch_graph asks for.
struct v4i_cuda_graph {
  v4i_cuda_device* device;
  std::map<v4i_cuda_stream*, std::size_t> lists;  // while it is captured
  std::vector<std::vector<v4i::emulate::Work>> work;
  std::string broken;  // why it cannot be ended
};

struct v4i_cuda_device {
  explicit v4i_cuda_device(int number);
  ~v4i_cuda_device();

  // Both throw Failure.  In order of issue: at once, or when the stream is waited for.
  void issue(v4i_cuda_stream* s, v4i::emulate::Work work);
  void drain(v4i_cuda_stream* s, const v4i::emulate::Moment* until);
  void run_graph(v4i_cuda_graph& g);
  // Runs what takes memory of the device.
  void execute(const std::function<void()>& run);

  void* allocate(std::size_t bytes, bool pinned);  // null: no memory
  bool release(void* p, bool pinned);
  bool is_pinned(const void* p, std::size_t bytes) const { return holds(pinned, p, bytes); }
  // Throws Failure where [p, p + bytes) is not inside of one allocation.
  void check_range(const void* p, std::size_t bytes, const char* what) const;

  int number;
  std::recursive_mutex mutex;
  bool lost = false;
  std::string why_lost;
  long launches = 0;
  std::uint64_t used = 0;
  std::map<const unsigned char*, std::size_t> memory, pinned;  // and their bytes
  std::set<v4i_cuda_stream*> streams;
  std::set<v4i_cuda_event*> events;
  std::set<v4i_cuda_graph*> graphs;

 private:
  static bool holds(const std::map<const unsigned char*, std::size_t>& all, const void* p,
                    std::size_t bytes);
  void drain_list(std::vector<std::vector<v4i::emulate::Work>>& work,
                  std::vector<std::size_t>& next, std::size_t list,
                  const v4i::emulate::Moment* until);
  unsigned char* arena_ = nullptr;  // with wishes().closed
  std::size_t arena_used_ = 0;
  int open_ = 0;
};
