// Finding and opening the plug-in; see library.h.
#include "lib/forward/cuda/library.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "kernels/cuda/driver/shared_object.h"
#include "lib/base/error.h"

namespace v4i::forward::cuda {
namespace {

namespace driver = kernels::cuda::driver;
namespace fs = std::filesystem;

#if defined(_WIN32)
constexpr const char* kFile = "v4infer-cuda.dll";
#else
constexpr const char* kFile = "libv4infer-cuda.so";
#endif

constexpr const char* kVariable = "V4INFER_CUDA_LIBRARY";

#if defined(_WIN32)
fs::path file_of(HMODULE module) {
  wchar_t name[MAX_PATH];
  const DWORD n = GetModuleFileNameW(module, name, MAX_PATH);
  return n == 0 || n == MAX_PATH ? fs::path() : fs::path(name);
}

fs::path own_file() {
  HMODULE module = nullptr;
  GetModuleHandleExW(
      GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
      reinterpret_cast<LPCWSTR>(&Library::build_id), &module);
  return file_of(module);
}

fs::path program_file() { return file_of(nullptr); }
#else
// The library or program that this function is in.
fs::path own_file() {
  Dl_info found;
  if (dladdr(reinterpret_cast<void*>(&Library::build_id), &found) == 0) return {};
  return found.dli_fname != nullptr ? fs::path(found.dli_fname) : fs::path();
}

fs::path program_file() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}
#endif

const char* variable() {
#if defined(_WIN32)
  return std::getenv(kVariable);
#else
  return secure_getenv(kVariable);  // nothing in a program that runs with another's rights
#endif
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::string listed(const std::vector<std::string>& paths) {
  std::string text;
  for (const std::string& path : paths) text += path + ", ";
  return text;
}

}  // namespace

const char* Library::build_id() { return V4I_CUDA_BUILD_ID; }

std::vector<std::string> Library::where() {
  std::vector<std::string> found;
  const auto add = [&](const fs::path& file) {
    if (!file.has_parent_path()) return;  // never the current folder
    const std::string path = (file.parent_path() / kFile).string();
    if (std::find(found.begin(), found.end(), path) == found.end()) found.push_back(path);
  };
  std::error_code failed;
  const fs::path own = own_file();
  add(own);
  const fs::path real = fs::canonical(own, failed);  // behind symbolic links
  if (!failed) add(real);
  add(program_file());
  return found;
}

std::shared_ptr<const Library> Library::open(std::string_view backend, const std::string& path) {
  if (!path.empty()) {
    if (!exists(path)) fail(Code::kUnsupported, "backend \"{}\": there is no {}", backend, path);
    return load(backend, path);
  }
  if (const char* named = variable(); named != nullptr && *named != '\0') {
    if (!exists(named))
      fail(Code::kUnsupported, "backend \"{}\": there is no {}, which {} names", backend, named,
           kVariable);
    return load(backend, named);
  }
  const std::vector<std::string> places = where();
  const auto there = std::find_if(places.begin(), places.end(), exists);
  if (there != places.end()) return load(backend, *there);
  char why[512];
  if (void* handle = driver::open_shared(kFile, why, sizeof(why)); handle != nullptr) {
    driver::close_shared(handle);
    return load(backend, kFile);
  }
  fail(Code::kUnsupported, "backend \"{}\": {} is not installed (looked at {}and: {})", backend,
       kFile, listed(places), why);
}

std::shared_ptr<const Library> Library::wrap(std::string_view backend, const v4i_cuda_api* api) {
  const std::shared_ptr<Library> library(new Library);
  library->api_ = api;
  library->check(backend);
  return library;
}

std::shared_ptr<const Library> Library::load(std::string_view backend, const std::string& path) {
  const std::shared_ptr<Library> library(new Library);
  library->path_ = path;
  char why[512];
  library->handle_ = driver::open_shared(path.c_str(), why, sizeof(why));
  if (library->handle_ == nullptr)
    fail(Code::kUnsupported, "backend \"{}\": {} cannot be loaded: {}", backend, path, why);
  const auto table = reinterpret_cast<v4i_cuda_plugin_function>(
      driver::find_symbol(library->handle_, V4I_CUDA_PLUGIN_SYMBOL));
  if (table == nullptr)
    fail(Code::kUnsupported, "backend \"{}\": {} is not a CUDA plug-in of libv4infer: it has no {}",
         backend, path, V4I_CUDA_PLUGIN_SYMBOL);
  library->api_ = table();
  library->check(backend);
  return library;
}

void Library::check(std::string_view backend) const {
  const char* name = path_.empty() ? "the CUDA plug-in" : path_.c_str();
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

Library::~Library() {
  if (handle_ != nullptr) driver::close_shared(handle_);
}

}  // namespace v4i::forward::cuda
