// The backends of this build; see backend.h.
#include "lib/forward/backend.h"

#include "lib/base/error.h"
#include "lib/forward/cpu/backend.h"

namespace v4i::forward {

std::shared_ptr<Backend> make_backend(const BackendOptions& options, ThreadPool& pool,
                                      Budget& budget) {
  if (!options.name.empty() && options.name != "cpu")
    fail(Code::kUnsupported, "backend \"{}\": this build has \"cpu\" only", options.name);
  return std::make_shared<cpu::CpuBackend>(options.isa, pool, budget);
}

}  // namespace v4i::forward
