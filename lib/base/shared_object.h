// Opening a shared library at run time: dlopen, and its twin on Windows.
#pragma once

#include <cstdio>

#if defined(_WIN32)
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace v4i {

// Null where it cannot be opened; `why`, of `size` bytes, then says why.
inline void* open_shared(const char* path, char* why, std::size_t size) {
#if defined(_WIN32)
  void* handle = reinterpret_cast<void*>(LoadLibraryA(path));
  if (handle == nullptr) std::snprintf(why, size, "Windows error %lu", GetLastError());
#else
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* text = dlerror();
    std::snprintf(why, size, "%s", text != nullptr ? text : "no reason given");
  }
#endif
  return handle;
}

inline void* find_symbol(void* handle, const char* name) {
#if defined(_WIN32)
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(handle), name));
#else
  return dlsym(handle, name);
#endif
}

inline void close_shared(void* handle) {
#if defined(_WIN32)
  FreeLibrary(static_cast<HMODULE>(handle));
#else
  dlclose(handle);
#endif
}

}  // namespace v4i
