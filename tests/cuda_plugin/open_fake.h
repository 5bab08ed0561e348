// The plug-in and its fake driver, opened for one test.
#pragma once

#include <dlfcn.h>

#include <memory>
#include <string>

#include "lib/forward/cuda/device.h"
#include "tests/cuda_plugin/fake_driver.h"
#include "tests/support/catch.h"

namespace v4i::test {

inline std::string plugin_path(const std::string& name) { return V4I_PLUGINS + name + ".so"; }

// The driver as at its start; it stays in the process, as the plug-in keeps it open.
inline FakeDriver& fake_driver(const std::string& name = "cuda_driver_fake") {
  void* handle = dlopen(plugin_path(name).c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(handle != nullptr);
  const auto function = reinterpret_cast<FakeDriverFunction>(dlsym(handle, "v4i_fake_driver"));
  REQUIRE(function != nullptr);
  FakeDriver& driver = *function();
  driver.reset();
  return driver;
}

inline std::shared_ptr<const forward::cuda::Library> open_plugin(
    const std::string& name = "cuda_plugin_fake") {
  return forward::cuda::Library::open("cuda:0", plugin_path(name));
}

}  // namespace v4i::test
