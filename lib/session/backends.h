// Which backends there are.
#pragma once

#include <memory>
#include <string>

#include "lib/base/budget.h"
#include "lib/base/thread_pool.h"
#include "lib/forward/backend.h"

namespace v4i::session {

struct BackendOptions {
  std::string name;  // empty: the best there is; "cpu"
  std::string isa;   // of the cpu: empty = best; "scalar", "avx2", "avx512", ...
};

// Error(kUnsupported) naming those that this build and processor have.
std::shared_ptr<forward::Backend> make_backend(const BackendOptions& options, ThreadPool& pool,
                                               Budget& budget);

}  // namespace v4i::session
