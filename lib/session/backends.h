// Which backends there are.
#pragma once

#include <memory>
#include <string>

#include "lib/base/budget.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/backend.h"

namespace v4i::session {

struct BackendOptions {
  std::string name;  // "cpu", "cuda:0" (device 0; also "cuda"); empty: "cpu"
  std::string isa;   // of the CPU: empty = best; "scalar", "avx2", "avx512", ...
  // The plug-in of "cuda:N"; empty: libv4infer-cuda.so where forward::cuda::Library looks for it.
  std::string cuda_library{};
};

// Error(kUnsupported) naming those there are, or what the one that was asked for is missing here.
std::shared_ptr<forward::Backend> make_backend(const BackendOptions& options, ThreadPool& pool,
                                               Budget& budget);

}  // namespace v4i::session
