// A launch of a test: finds the kernel and gives it a copy of its arguments.
#include "tests/cuda/emulate/run.h"

#include <memory>
#include <string>

#include "tests/cuda/emulate/machine.h"

namespace v4i::emulate {

void run_kernel(const kernels::cuda::Launch& launch, const void* args, std::size_t args_bytes,
                std::uint64_t seed) {
  const Kernel* kernel = find_kernel(launch.kernel);
  if (kernel == nullptr) throw Failure(std::string("no kernel named ") + launch.kernel);
  if (kernel->args_bytes != args_bytes)
    throw Failure(std::string(launch.kernel) + ": arguments of " + std::to_string(args_bytes) +
                  " bytes; the kernel takes " + std::to_string(kernel->args_bytes));
  if (args_bytes > 4096) throw Failure(std::string(launch.kernel) + ": arguments over 4096 bytes");
  void* copy = nullptr;
  if (posix_memalign(&copy, 64, args_bytes) != 0) throw std::bad_alloc();
  const std::unique_ptr<void, void (*)(void*)> freed(copy, std::free);
  std::memcpy(copy, args, args_bytes);
  Machine::mine().launch(*kernel, {launch.x, launch.y, launch.z}, launch.threads, launch.shared,
                         copy, seed);
}

void* take_memory(std::size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, 256, bytes) != 0) throw std::bad_alloc();
  return p;
}

void give_memory(void* p, std::size_t) noexcept { std::free(p); }

}  // namespace v4i::emulate
