// The backends of this build; see backends.h.
#include "lib/session/backends.h"

#include <charconv>
#include <string_view>

#include "lib/base/error.h"
#include "lib/forward/cpu/backend.h"
#include "lib/forward/cuda/backend.h"

namespace v4i::session {

namespace {

constexpr std::string_view kCuda = "cuda";

// The number in "cuda:N"; 0 of "cuda".
int device_number(const std::string& name) {
  std::string_view rest = name;
  rest.remove_prefix(kCuda.size());
  if (rest.empty()) return 0;
  int number = -1;
  const char *begin = rest.data() + 1, *end = rest.data() + rest.size();
  const auto [stopped, error] = std::from_chars(begin, end, number);
  if (rest.find(',') != rest.npos)
    fail(Code::kUnsupported, "backend \"{}\": one device at a time, such as \"cuda:0\"", name);
  if (rest[0] != ':' || error != std::errc() || stopped != end || number < 0)
    fail(Code::kUnsupported, "backend \"{}\": there are \"cpu\" and \"cuda:0\", \"cuda:1\", ...",
         name);
  return number;
}

}  // namespace

std::shared_ptr<forward::Backend> make_backend(const BackendOptions& options, ThreadPool& pool,
                                               Budget& budget) {
  if (options.name.empty() || options.name == "cpu")
    return std::make_shared<forward::cpu::CpuBackend>(options.isa, pool, budget);
  if (!options.name.starts_with(kCuda))
    fail(Code::kUnsupported, "backend \"{}\": there are \"cpu\" and \"cuda:0\", \"cuda:1\", ...",
         options.name);
  const int number = device_number(options.name);
  return std::make_shared<forward::cuda::CudaBackend>(
      forward::cuda::Library::open(options.name, options.cuda_library), number, options.isa, pool,
      budget);
}

}  // namespace v4i::session
