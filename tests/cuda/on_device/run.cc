// The interface of tests/cuda/emulate/run.h on a device: buffers are host memory that it reads and
// writes too, kernels are launched by name through the plug-in V4INFER_CUDA_LIBRARY.
#include "tests/cuda/emulate/run.h"

#include <cstdlib>
#include <memory>
#include <string>

#include "lib/base/error.h"
#include "lib/forward/cuda/device.h"
#include "tests/cuda/on_device/memory.h"

namespace v4i::emulate {
namespace {

std::shared_ptr<forward::cuda::Device> open_device() {
  const char* path = std::getenv("V4INFER_CUDA_LIBRARY");
  return forward::cuda::Device::open(
      forward::cuda::Library::open("cuda:0", path == nullptr ? "" : path), 0);
}

struct Machine {
  std::shared_ptr<forward::cuda::Device> device = open_device();
  forward::cuda::Stream stream{device};
  Memory memory{*device};
};

// Never closed: tests may keep buffers until the program ends.
Machine& machine() {
  static Machine& m = *new Machine;
  return m;
}

std::string text_of(const kernels::cuda::Launch& l) {
  return fmt::format("{} <<<({}, {}, {}), {}, {}>>>: ", l.kernel, l.x, l.y, l.z, l.threads,
                     l.shared);
}

}  // namespace

void run_kernel(const kernels::cuda::Launch& launch, const void* args, std::size_t args_bytes,
                std::uint64_t) {
  Machine& m = machine();
  if (const std::string wrong = m.memory.foreign_address(args, args_bytes); !wrong.empty())
    throw Failure(text_of(launch) + wrong);
  const v4i_cuda_api& api = m.device->api();
  const std::uint32_t blocks[3] = {launch.x, launch.y, launch.z};
  try {
    m.device->check(api.launch(m.stream.get(), m.device->kernel(launch.kernel), blocks,
                               launch.threads, launch.shared, args, args_bytes));
    m.stream.wait();
  } catch (const Error& e) {
    throw Failure(text_of(launch) + e.text());
  }
  if (const std::string wrong = m.memory.damage(); !wrong.empty())
    throw Failure(text_of(launch) + wrong);
}

void* take_memory(std::size_t bytes) { return machine().memory.take(bytes); }

void give_memory(void* p, std::size_t) noexcept { machine().memory.give(p); }

}  // namespace v4i::emulate
