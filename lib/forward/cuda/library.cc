// Finding and opening the plug-in; see library.h.
#include "lib/forward/cuda/library.h"

#include <cstring>

#include "lib/base/error.h"

namespace v4i::forward::cuda {
namespace {

#if defined(_WIN32)
constexpr const char* kFile = "v4infer-cuda.dll";
#else
constexpr const char* kFile = "libv4infer-cuda.so";
#endif

Plugin::Names names(std::string_view backend) {
  return {fmt::format("backend \"{}\"", backend), kFile, "V4INFER_CUDA_LIBRARY"};
}

}  // namespace

const char* Library::build_id() { return V4I_CUDA_BUILD_ID; }

std::vector<std::string> Library::where() { return Plugin::where(kFile); }

std::shared_ptr<const Library> Library::open(std::string_view backend, const std::string& path) {
  const std::shared_ptr<Library> library(new Library);
  library->plugin_ = Plugin::open(names(backend), path);
  const auto table =
      reinterpret_cast<v4i_cuda_plugin_function>(library->plugin_.symbol(V4I_CUDA_PLUGIN_SYMBOL));
  if (table == nullptr)
    fail(Code::kUnsupported, "backend \"{}\": {} is not a CUDA plug-in of libv4infer: it has no {}",
         backend, library->path(), V4I_CUDA_PLUGIN_SYMBOL);
  library->api_ = table();
  library->check(backend);
  return library;
}

std::shared_ptr<const Library> Library::wrap(std::string_view backend, const v4i_cuda_api* api) {
  const std::shared_ptr<Library> library(new Library);
  library->api_ = api;
  library->check(backend);
  return library;
}

void Library::check(std::string_view backend) const {
  const char* name = path().empty() ? "the CUDA plug-in" : path().c_str();
  if (api_ == nullptr) fail(Code::kUnsupported, "backend \"{}\": {} gives no table", backend, name);
  if (api_->bytes != sizeof(v4i_cuda_api))
    fail(Code::kUnsupported,
         "backend \"{}\": {} is of another version of libv4infer (its table has {} bytes, wanted "
         "{}); install the two together",
         backend, name, api_->bytes, sizeof(v4i_cuda_api));
  if (std::strcmp(api_->build_id, build_id()) != 0)
    fail(Code::kUnsupported,
         "backend \"{}\": {} was made from other sources than libv4infer (build id {}, wanted {}); "
         "install the two together",
         backend, name, api_->build_id, build_id());
}

}  // namespace v4i::forward::cuda
