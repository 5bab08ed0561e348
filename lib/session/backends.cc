// The backends of this build; see backends.h.
#include "lib/session/backends.h"

#include "lib/base/error.h"
#include "lib/forward/cpu/backend.h"

namespace v4i::session {

std::shared_ptr<forward::Backend> make_backend(const BackendOptions& options, ThreadPool& pool,
                                               Budget& budget) {
  if (!options.name.empty() && options.name != "cpu")
    fail(Code::kUnsupported, "backend \"{}\": this build has \"cpu\" only", options.name);
  return std::make_shared<forward::cpu::CpuBackend>(options.isa, pool, budget);
}

}  // namespace v4i::session
