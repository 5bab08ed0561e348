// Plugin: a shared library of ours that lies beside libv4infer, opened when it is first needed.
//
// What it gives is found by the name of one function, and checked by whoever opens it.  Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace v4i {

class Plugin {
 public:
  struct Names {
    std::string who;                 // begins every sentence: "backend \"cuda:0\""
    const char* file = nullptr;      // "libv4infer-cuda.so"
    const char* variable = nullptr;  // of the environment, may name the file; null: none does
    std::string_view remedy = {};    // ends the sentence that says that there is none
  };

  // Opens `path`; where it is empty, what the variable names; without that, looks at the places of
  // where(), then by name where the system looks for libraries.  Error(kUnsupported): there is
  // none, or it cannot be loaded.
  static Plugin open(const Names& names, const std::string& path);
  // Beside the library or program that this code is part of, and beside the program that runs.
  static std::vector<std::string> where(const char* file);

  Plugin() = default;
  ~Plugin();  // after everything that came out of it
  Plugin(Plugin&& o) noexcept { swap(o); }
  Plugin& operator=(Plugin&& o) noexcept {
    swap(o);
    return *this;
  }

  void* symbol(const char* name) const;              // null: it has none of that name
  const std::string& path() const { return path_; }  // as opened; empty: nothing is

 private:
  static Plugin load(const Names& names, const std::string& path);
  void swap(Plugin& o) noexcept;

  void* handle_ = nullptr;
  std::string path_;
};

}  // namespace v4i
