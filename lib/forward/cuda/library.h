// The plug-in libv4infer-cuda.so: found, opened, and checked to be of the same sources as we are.
//
// It is opened when a host asks for a CUDA backend, never before.  Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/plugin.h"
#include "lib/base/plugin.h"

namespace v4i::forward::cuda {

class Library {
 public:
  // `backend` is the name that the host asked for, "cuda:0"; errors begin with it.  Found as
  // base/plugin.h says; the environment variable is V4INFER_CUDA_LIBRARY.
  // Error(kUnsupported): there is none, it cannot be loaded, or it was made from other sources.
  static std::shared_ptr<const Library> open(std::string_view backend,
                                             const std::string& path = {});
  // A table that is part of this program: the emulator's.  Same checks.
  static std::shared_ptr<const Library> wrap(std::string_view backend, const v4i_cuda_api* api);
  // Beside the library or program that this code is part of, and beside the program that runs.
  static std::vector<std::string> where();
  static const char* build_id();  // of our sources

  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  const v4i_cuda_api& api() const { return *api_; }
  const std::string& path() const {
    return plugin_.path();
  }  // as opened; empty: part of this program

 private:
  Library() = default;
  void check(std::string_view backend) const;

  Plugin plugin_;
  const v4i_cuda_api* api_ = nullptr;
};

}  // namespace v4i::forward::cuda
