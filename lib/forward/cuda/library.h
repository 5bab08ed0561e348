// The plug-in libv4infer-cuda.so: found, opened, and checked to be of the same sources as we are.
//
// It is opened when a host asks for a CUDA backend, never before.  Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/plugin.h"

namespace v4i::forward::cuda {

class Library {
 public:
  // `backend` is the name that the host asked for, "cuda:0"; errors begin with it.  Opens `path`;
  // where it is empty, what the environment variable V4INFER_CUDA_LIBRARY names; without that,
  // looks at the places of where(), then by name where the system looks for libraries.
  // Error(kUnsupported): there is none, it cannot be loaded, or it was made from other sources.
  static std::shared_ptr<const Library> open(std::string_view backend,
                                             const std::string& path = {});
  // A table that is part of this program: the emulator's.  Same checks.
  static std::shared_ptr<const Library> wrap(std::string_view backend, const v4i_cuda_api* api);
  // Beside the library or program that this code is part of, and beside the program that runs.
  static std::vector<std::string> where();
  static const char* build_id();  // of our sources

  ~Library();  // after everything that came out of it
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const v4i_cuda_api& api() const { return *api_; }
  const std::string& path() const { return path_; }  // as opened; empty: part of this program

 private:
  Library() = default;
  static std::shared_ptr<const Library> load(std::string_view backend, const std::string& path);
  void check(std::string_view backend) const;

  void* handle_ = nullptr;
  const v4i_cuda_api* api_ = nullptr;
  std::string path_;
};

}  // namespace v4i::forward::cuda
