// GuardedBackend: the CPU's backend whose KV rows and activations lie in pages that nobody may
// touch except inside its own calls, as if they were a device's.
#pragma once

#include <memory>

#include "lib/session/backends.h"

namespace v4i::session::test {

std::shared_ptr<forward::Backend> guarded_backend(const BackendOptions& options, ThreadPool& pool,
                                                  Budget& budget);

}  // namespace v4i::session::test
