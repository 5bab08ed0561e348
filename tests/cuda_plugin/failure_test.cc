// Every call of the driver fails once: a sentence, nothing lost, and the next user is served.
#include <algorithm>
#include <vector>

#include "lib/base/error.h"
#include "tests/cuda_plugin/open_fake.h"
#include "tests/support/refusal.h"

using namespace v4i::forward::cuda;
using v4i::Budget;
using v4i::Code;
using v4i::Place;
using v4i::Use;
using v4i::test::AddArgs;
using v4i::test::fake_driver;
using v4i::test::FakeDriver;
using v4i::test::open_plugin;
using v4i::test::OtherArgs;
using v4i::test::refusal;

namespace {

constexpr int kOutOfMemory = 2, kInvalidValue = 1, kIllegalAddress = 700;

// Something of everything.
float use_all(Budget& budget) {
  const auto device = Device::open(open_plugin(), 0);
  const Stream stream(device), other(device);
  const Event before(device), after(device);
  const DeviceBuffer a(device, budget, Use::kScratch, 16, "a"),
      b(device, budget, Use::kKv, 16, "b");
  const PinnedBuffer pinned(device, budget, Use::kScratch, 16, "pinned");
  std::fill_n(pinned.as<float>(), 4, 1.5F);
  stream.record(before);
  stream.upload(a.data(), pinned.host(), 16);
  stream.fill(b.data(), 0, 16);
  Capture capture(stream);
  stream.launch({"v4i_test_add"}, AddArgs{b.as<float>(), a.as<float>(), 4});
  const Graph graph = capture.end();
  stream.launch(graph);
  stream.launch({"v4i_test_other"}, OtherArgs{});
  stream.copy(a.data(), b.data(), 16);
  stream.record(after);
  other.follow(after);
  other.download(pinned.host(), a.data(), 16);
  other.wait();
  after.wait();
  (void)after.milliseconds_since(before);
  (void)device->free_bytes();
  return pinned.as<float>()[3];
}

// May fail without an error for the caller: in destructors there is nobody to tell.
bool is_quiet(const std::string& call) {
  static const char* const names[] = {"cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2",
                                      "cuThreadExchangeStreamCaptureMode",
                                      "cuDevicePrimaryCtxRelease_v2"};
  return call.find("Free") != std::string::npos || call.find("Destroy") != std::string::npos ||
         call.find("Unload") != std::string::npos ||
         std::find(std::begin(names), std::end(names), call) != std::end(names);
}

// One run in which call `n` answers `result`; false: there is no such call.
bool fail_once(FakeDriver& driver, Budget& budget, long n, int result) {
  driver.reset();
  driver.fail_call = n;
  driver.fail_with = result;
  Code code = Code::kOk;
  std::string text;
  float value = 0;
  try {
    value = use_all(budget);
  } catch (const v4i::Error& e) {
    code = e.code();
    text = e.text();
  }
  if (driver.failed.empty()) return false;
  INFO("call " << n << ", " << driver.failed << ", answers " << result << ": " << text);
  if (code == Code::kOk) {
    REQUIRE(value == 1.5F);
    REQUIRE(is_quiet(driver.failed));
  } else {
    REQUIRE(text.rfind("backend \"cuda:0\": ", 0) == 0);
    const bool before_open = driver.failed == "cuInit" || driver.failed == "cuDriverGetVersion" ||
                             driver.failed == "cuDeviceGetCount";
    const Code wanted = before_open              ? Code::kUnsupported
                        : result == kOutOfMemory ? Code::kNoMemory
                                                 : Code::kDevice;
    REQUIRE(code == wanted);
  }
  INFO((driver.after_death.empty() ? "" : driver.after_death.front()));
  REQUIRE(driver.after_death.empty());
  REQUIRE(driver.mistakes.empty());
  // Where the context cannot be entered, what should have been dropped goes with it.
  REQUIRE(driver.leaked <= (driver.failed == "cuCtxPushCurrent_v2" ? 2 : 0));
  REQUIRE(driver.alive == 0);
  REQUIRE(budget.used(Place::kDevice) == 0);
  REQUIRE(budget.used(Place::kPinned) == 0);
  return true;
}

}  // namespace

TEST_CASE("any call may fail: the right code, nothing leaks, the device opens again") {
  FakeDriver& driver = fake_driver();
  Budget budget;
  for (const int result : {kOutOfMemory, kInvalidValue, kIllegalAddress}) {
    long n = 1;
    while (fail_once(driver, budget, n, result)) ++n;
    REQUIRE(n > 80);
    driver.reset();
    REQUIRE(use_all(budget) == 1.5F);
  }
}

TEST_CASE("a lost device answers so until it is closed, without a call of the driver") {
  FakeDriver& driver = fake_driver();
  Budget budget;
  {
    const auto device = Device::open(open_plugin(), 0);
    const Stream stream(device);
    const Event event(device);
    const DeviceBuffer a(device, budget, Use::kScratch, 16, "a");
    driver.fail_name = "cuStreamSynchronize";
    driver.fail_with = kIllegalAddress;
    REQUIRE(refusal([&] { stream.wait(); }) ==
            "backend \"cuda:0\": device 0 (Fake): waiting for a stream: an illegal memory access "
            "was encountered (CUDA_ERROR_ILLEGAL_ADDRESS, 700)");
    driver.fail_name.clear();
    const long calls = driver.calls;
    const std::string lost =
        "backend \"cuda:0\": device 0 (Fake) was lost in waiting for a stream: an illegal memory "
        "access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS, 700)";
    REQUIRE(refusal([&] { stream.wait(); }) == lost);
    REQUIRE(refusal([&] { stream.fill(a.data(), 0, 16); }) == lost);
    REQUIRE(refusal([&] { stream.launch({"v4i_test_other"}, OtherArgs{}); }) == lost);
    REQUIRE(refusal([&] { (void)device->free_bytes(); }) == lost);
    REQUIRE(refusal([&] { DeviceBuffer(device, budget, Use::kKv, 16, "more"); }) ==
            "backend \"cuda:0\": more" + lost.substr(lost.find(": ")));
    REQUIRE(driver.calls == calls);
    REQUIRE(budget.used(Place::kDevice) == 16);
  }
  REQUIRE(driver.after_death.empty());
  REQUIRE(driver.alive == 0);
  driver.reset();
  REQUIRE(use_all(budget) == 1.5F);
}

TEST_CASE("a device that is full says for what, and gives the budget back") {
  FakeDriver& driver = fake_driver();
  driver.memory = 1 << 20;
  Budget budget;
  {
    const auto device = Device::open(open_plugin(), 0);
    REQUIRE(refusal([&] { DeviceBuffer(device, budget, Use::kWeights, 2 << 20, "weights"); }) ==
            "backend \"cuda:0\": weights: device 0 (Fake): allocating 2097152 bytes: out of memory "
            "(CUDA_ERROR_OUT_OF_MEMORY, 2)");
    REQUIRE_THROWS_AS(PinnedBuffer(device, budget, Use::kScratch, 2 << 20, "x"), v4i::Error);
    REQUIRE(budget.used(Place::kDevice) == 0);
    REQUIRE(budget.used(Place::kPinned) == 0);
    budget.set_cap(100, Place::kDevice);
    REQUIRE_THROWS_AS(DeviceBuffer(device, budget, Use::kKv, 101, "x"), v4i::Error);
    REQUIRE(driver.alive > 0);
    DeviceBuffer(device, budget, Use::kKv, 100, "fits");
  }
  REQUIRE(driver.leaked == 0);
}
