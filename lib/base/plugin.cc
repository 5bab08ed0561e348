// Finding and opening a plug-in; see plugin.h.
#include "lib/base/plugin.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/shared_object.h"

namespace v4i {
namespace {

namespace fs = std::filesystem;

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
      reinterpret_cast<LPCWSTR>(&Plugin::where), &module);
  return file_of(module);
}

fs::path program_file() { return file_of(nullptr); }

const char* value_of(const char* variable) { return std::getenv(variable); }
#else
// The file that is mapped at `address`, as the kernel knows it; empty where it does not say.
fs::path mapped_at(std::uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx", &begin, &end) != 2) continue;
    if (address < begin || address >= end) continue;
    const std::size_t path = line.find('/');
    return path == line.npos ? fs::path() : fs::path(line.substr(path));
  }
  return {};
}

// The library or program that this function is in.  Never relative to the current folder, which
// may be another one than when it was loaded.
fs::path own_file() {
  Dl_info found;
  if (dladdr(reinterpret_cast<void*>(&Plugin::where), &found) == 0) return {};
  const fs::path name = found.dli_fname != nullptr ? found.dli_fname : "";
  if (name.is_absolute()) return name;
  return mapped_at(reinterpret_cast<std::uintptr_t>(&Plugin::where));
}

fs::path program_file() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

const char* value_of(const char* variable) {
  return secure_getenv(variable);  // nothing in a program that runs with another's rights
}
#endif

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

std::vector<std::string> Plugin::where(const char* file) {
  std::vector<std::string> found;
  const auto add = [&](const fs::path& neighbour) {
    if (!neighbour.has_parent_path()) return;  // never the current folder
    const std::string path = (neighbour.parent_path() / file).string();
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

Plugin Plugin::open(const Names& names, const std::string& path) {
  if (!path.empty()) {
    if (!exists(path)) fail(Code::kUnsupported, "{}: there is no {}", names.who, path);
    return load(names, path);
  }
  const char* named = names.variable != nullptr ? value_of(names.variable) : nullptr;
  if (named != nullptr && *named != '\0') {
    if (!exists(named))
      fail(Code::kUnsupported, "{}: there is no {}, which {} names", names.who, named,
           names.variable);
    return load(names, named);
  }
  const std::vector<std::string> places = where(names.file);
  const auto there = std::find_if(places.begin(), places.end(), exists);
  if (there != places.end()) return load(names, *there);
  char why[512];
  if (void* handle = open_shared(names.file, why, sizeof(why)); handle != nullptr) {
    close_shared(handle);
    return load(names, names.file);
  }
  fail(Code::kUnsupported, "{}: {} is not installed (looked at {}and: {}){}", names.who, names.file,
       listed(places), why, names.remedy);
}

Plugin Plugin::load(const Names& names, const std::string& path) {
  Plugin plugin;
  char why[512];
  plugin.handle_ = open_shared(path.c_str(), why, sizeof(why));
  if (plugin.handle_ == nullptr)
    fail(Code::kUnsupported, "{}: {} cannot be loaded: {}", names.who, path, why);
  plugin.path_ = path;
  return plugin;
}

void* Plugin::symbol(const char* name) const { return find_symbol(handle_, name); }

Plugin::~Plugin() {
  if (handle_ != nullptr) close_shared(handle_);
}

void Plugin::swap(Plugin& o) noexcept {
  std::swap(handle_, o.handle_);
  std::swap(path_, o.path_);
}

}  // namespace v4i
