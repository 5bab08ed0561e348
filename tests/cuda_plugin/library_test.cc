// The plug-in is found, or refused with a sentence.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lib/base/error.h"
#include "tests/cuda_plugin/open_fake.h"
#include "tests/support/refusal.h"

using v4i::Code;
using v4i::forward::cuda::Device;
using v4i::forward::cuda::Library;
using v4i::test::open_plugin;
using v4i::test::plugin_path;
using v4i::test::refusal;
using v4i::test::refusal_code;
namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void require_refused(const std::string& plugin, const std::string& part) {
  const auto open = [&] { open_plugin(plugin); };
  const std::string text = refusal(open);
  INFO(text);
  REQUIRE(refusal_code(open) == Code::kUnsupported);
  REQUIRE(text.rfind("backend \"cuda:0\": ", 0) == 0);
  REQUIRE(contains(text, part));
}

}  // namespace

TEST_CASE("a plug-in of the same sources is opened") {
  const auto library = open_plugin();
  REQUIRE(std::string(library->api().build_id) == Library::build_id());
  REQUIRE(library->path() == plugin_path("cuda_plugin_fake"));
}

TEST_CASE("what is no plug-in, or one of other sources, is refused with a sentence") {
  require_refused("no_such_file", "there is no " + plugin_path("no_such_file"));
  require_refused("cuda_driver_fake", "it has no v4i_cuda_plugin");
  require_refused("cuda_plugin_short", "its table has 64 bytes, wanted ");
  require_refused("cuda_plugin_other",
                  "made from other sources than libv4infer (build id 0123456789abcdef, wanted ");
  const std::string path = plugin_path("not_a_library");
  std::ofstream(path) << "text";
  require_refused("not_a_library", "cannot be loaded: ");
  fs::remove(path);
}

TEST_CASE("a table that is part of the program is held to the same") {
  v4i_cuda_api api{};
  api.bytes = sizeof(api);
  api.build_id = "another";
  REQUIRE(contains(refusal([&] { Library::wrap("cuda:0", &api); }), "(build id another, wanted "));
  api.build_id = Library::build_id();
  REQUIRE(&Library::wrap("cuda:0", &api)->api() == &api);
}

TEST_CASE("without a path the plug-in is looked for beside the program") {
  unsetenv("V4INFER_CUDA_LIBRARY");
  const std::vector<std::string> places = Library::where();
  REQUIRE_FALSE(places.empty());
  for (const std::string& place : places) {
    INFO(place);
    REQUIRE(fs::path(place).has_parent_path());
    REQUIRE(fs::path(place).filename() == "libv4infer-cuda.so");
  }
  const std::string beside =
      (fs::read_symlink("/proc/self/exe").parent_path() / "libv4infer-cuda.so").string();
  fs::remove(beside);
  std::string text = "installed on this system";
  try {
    Library::open("cuda:7");
  } catch (const v4i::Error& e) {
    text = e.text();
    REQUIRE(e.code() == Code::kUnsupported);
    REQUIRE(contains(text, "backend \"cuda:7\": libv4infer-cuda.so is not installed (looked at "));
    REQUIRE(contains(text, beside));
  }
  INFO(text);
  fs::copy_file(plugin_path("cuda_plugin_fake"), beside);
  REQUIRE(fs::equivalent(Library::open("cuda:7")->path(), beside));
  fs::remove(beside);
}

TEST_CASE("V4INFER_CUDA_LIBRARY names the plug-in") {
  const auto with = [](const std::string& value) {
    REQUIRE(setenv("V4INFER_CUDA_LIBRARY", value.c_str(), 1) == 0);
    std::string text;
    try {
      text = Library::open("cuda:0")->path();
    } catch (const v4i::Error& e) {
      text = e.text();
    }
    unsetenv("V4INFER_CUDA_LIBRARY");
    return text;
  };
  REQUIRE(with(plugin_path("cuda_plugin_fake")) == plugin_path("cuda_plugin_fake"));
  REQUIRE(with("/nowhere/x.so") ==
          "backend \"cuda:0\": there is no /nowhere/x.so, which V4INFER_CUDA_LIBRARY names");
  REQUIRE(contains(with(plugin_path("cuda_plugin_other")), "made from other sources"));
}

TEST_CASE("a machine without a driver, or with an old one, is a sentence") {
  const auto device = [](const char* plugin) { Device::open(open_plugin(plugin), 0); };
  const std::string none = refusal([&] { device("cuda_plugin_without"); });
  INFO(none);
  REQUIRE(contains(none, "backend \"cuda:0\": no NVIDIA driver: libcuda_no_such_driver.so"));
  REQUIRE(refusal_code([&] { device("cuda_plugin_without"); }) == Code::kUnsupported);
  const std::string old = refusal([&] { device("cuda_plugin_old"); });
  REQUIRE(contains(old, "the NVIDIA driver is too old: it lacks cuGraphLaunch"));
  int count = -1;
  REQUIRE(open_plugin("cuda_plugin_without")->api().count(&count) == V4I_CUDA_ABSENT);
  REQUIRE(count == 0);
}
