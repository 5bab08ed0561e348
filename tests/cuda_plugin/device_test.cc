// A device behind the plug-in: memory, streams, kernels, graphs, and what is refused.
#include <numeric>
#include <thread>
#include <vector>

#include "lib/base/error.h"
#include "tests/cuda_plugin/open_fake.h"
#include "tests/support/refusal.h"

using namespace v4i::forward::cuda;
using v4i::Budget;
using v4i::Code;
using v4i::Place;
using v4i::Use;
using v4i::kernels::cuda::Launch;
using v4i::test::AddArgs;
using v4i::test::fake_driver;
using v4i::test::FakeDriver;
using v4i::test::open_plugin;
using v4i::test::OtherArgs;
using v4i::test::refusal;
using v4i::test::refusal_code;

namespace {

std::string open_refusal(int number = 0) {
  return refusal([&] { Device::open(open_plugin(), number); });
}

void require_clean(const FakeDriver& driver) {
  INFO((driver.mistakes.empty() ? std::string() : driver.mistakes.front()));
  REQUIRE(driver.mistakes.empty());
  REQUIRE(driver.leaked == 0);
  REQUIRE(driver.alive == 0);
}

}  // namespace

TEST_CASE("a device says what it is") {
  FakeDriver& driver = fake_driver();
  driver.major = 8;
  driver.minor = 9;
  driver.devices = 2;
  int count = 0;
  REQUIRE(open_plugin()->api().count(&count) == V4I_CUDA_OK);
  REQUIRE(count == 2);
  {
    const auto device = Device::open(open_plugin(), 1);
    REQUIRE(device->name() == "cuda:1");
    const v4i_cuda_info& info = device->info();
    REQUIRE(std::string(info.name) == "Fake");
    REQUIRE(std::string(info.target) == "sm_86");  // the images have no 8.9
    REQUIRE(info.processors == 132);
    REQUIRE(info.memory == driver.memory);
    REQUIRE(info.shared == 227 << 10);
    Budget budget;
    const DeviceBuffer some(device, budget, Use::kScratch, 4096, "a test");
    REQUIRE(device->free_bytes() == driver.memory - 4096);
  }
  require_clean(driver);
}

TEST_CASE("no device, a wrong number, one that is too old: a sentence each") {
  FakeDriver& driver = fake_driver();
  driver.devices = 0;
  REQUIRE(open_refusal() == "backend \"cuda:0\": the NVIDIA driver sees no device");
  driver.init_result = 100;
  REQUIRE(open_refusal() == "backend \"cuda:0\": the NVIDIA driver sees no device");
  driver.init_result = 34;
  REQUIRE(open_refusal().find("is the toolkit's stub, not the NVIDIA driver") != std::string::npos);
  driver.init_result = 803;
  REQUIRE(open_refusal() ==
          "backend \"cuda:0\": the NVIDIA driver does not start: error (an unknown error, 803)");
  driver.reset();
  REQUIRE(open_refusal(1) ==
          "backend \"cuda:1\": there is no device 1; the one there is has number 0");
  driver.devices = 3;
  REQUIRE(open_refusal(-1) ==
          "backend \"cuda:-1\": there is no device -1; they are numbered 0 to 2");
  driver.version = 12080;
  REQUIRE(open_refusal() ==
          "backend \"cuda:0\": the NVIDIA driver is too old: it is for CUDA 12.8, and 13.0 or "
          "later is needed");
  driver.reset();
  driver.major = 7;
  driver.minor = 5;
  REQUIRE(open_refusal() ==
          "backend \"cuda:0\": device 0 (Fake) is too old: its compute capability is 7.5, and "
          "there is code for 8.0, 8.6, 9.0, 10.0, 12.0");
  driver.major = 11;
  driver.minor = 0;
  REQUIRE(open_refusal().find("is not supported: its compute capability is 11.0") !=
          std::string::npos);
  REQUIRE(refusal_code([] { Device::open(open_plugin(), 0); }) == Code::kUnsupported);
  require_clean(driver);
}

TEST_CASE("bytes go to the device, through a kernel and back; a graph does it again") {
  FakeDriver& driver = fake_driver();
  Budget budget;
  {
    const auto device = Device::open(open_plugin(), 0);
    const Stream stream(device), other(device);
    const Event before(device), after(device);
    const std::size_t bytes = 100 * sizeof(float);
    const DeviceBuffer a(device, budget, Use::kScratch, bytes, "a");
    DeviceBuffer b(device, budget, Use::kScratch, bytes, "b");
    const PinnedBuffer pinned(device, budget, Use::kScratch, bytes, "pinned");
    REQUIRE(budget.used(Place::kDevice) == 2 * bytes);
    REQUIRE(budget.used(Place::kPinned) == bytes);
    std::iota(pinned.as<float>(), pinned.as<float>() + 100, 1.0F);

    stream.record(before);
    stream.upload(a.data(), pinned.host(), bytes);
    stream.fill(b.data(), 0, bytes);
    const Launch add{"v4i_test_add", 1, 1, 1, 128, 100 << 10};
    const AddArgs args{b.as<float>(), a.as<float>(), 100};
    stream.launch(add, args);
    stream.launch(Launch{}, args);  // no name: nothing
    Graph graph;
    {
      Capture capture(stream);
      stream.launch(add, args);
      stream.launch({"v4i_test_other"}, OtherArgs{});
      graph = capture.end();
    }
    stream.launch(graph);
    stream.launch(graph);
    stream.record(after);
    other.follow(after);
    std::vector<float> got(100);
    other.download(got.data(), b.data(), bytes);
    other.wait();
    after.wait();
    for (int i = 0; i < 100; ++i) REQUIRE(got[static_cast<std::size_t>(i)] == 3.0F * (i + 1));
    REQUIRE(after.milliseconds_since(before) == 0.5F);
    stream.copy(b.data(), pinned.on_device(), bytes);
    stream.download(got.data(), b.data(), bytes);
    stream.wait();
    REQUIRE(got[99] == 100.0F);
    b.reset();
    REQUIRE(budget.used(Place::kDevice) == bytes);
  }
  REQUIRE(budget.used(Place::kDevice) == 0);
  REQUIRE(budget.used(Place::kPinned) == 0);
  require_clean(driver);
}

TEST_CASE("what lies on a device keeps it, and the plug-in, open") {
  FakeDriver& driver = fake_driver();
  Budget budget;
  DeviceBuffer last(Device::open(open_plugin(), 0), budget, Use::kKv, 64, "the last");
  REQUIRE(driver.alive > 0);
  DeviceBuffer moved(std::move(last));
  REQUIRE(last.empty());
  moved = DeviceBuffer();
  require_clean(driver);
}

TEST_CASE("close frees what callers of the table forget") {
  FakeDriver& driver = fake_driver();
  const auto library = open_plugin();
  const v4i_cuda_api& api = library->api();
  v4i_cuda_device* device = nullptr;
  REQUIRE(api.open(0, &device) == V4I_CUDA_OK);
  void *p = nullptr, *host = nullptr;
  v4i_cuda_stream *stream = nullptr, *capturing = nullptr;
  v4i_cuda_event* event = nullptr;
  v4i_cuda_kernel* kernel = nullptr;
  v4i_cuda_graph* graph = nullptr;
  REQUIRE(api.allocate(device, 100, &p) == V4I_CUDA_OK);
  REQUIRE(api.allocate_pinned(device, 100, &host, &p) == V4I_CUDA_OK);
  REQUIRE(api.make_stream(device, &stream) == V4I_CUDA_OK);
  REQUIRE(api.make_stream(device, &capturing) == V4I_CUDA_OK);
  REQUIRE(api.make_event(device, &event) == V4I_CUDA_OK);
  REQUIRE(api.find_kernel(device, "v4i_test_add", &kernel) == V4I_CUDA_OK);
  REQUIRE(api.begin_capture(stream) == V4I_CUDA_OK);
  REQUIRE(api.end_capture(stream, &graph) == V4I_CUDA_OK);
  REQUIRE(api.begin_capture(capturing) == V4I_CUDA_OK);
  int unknown = 0;
  api.release(device, &unknown);  // not its own: nothing happens
  api.release_pinned(device, nullptr);
  api.close(device);
  require_clean(driver);
}

TEST_CASE("wrong calls are errors and leave the device usable") {
  FakeDriver& driver = fake_driver();
  {
    const auto device = Device::open(open_plugin(), 0);
    const Stream stream(device);
    const auto refused = [&](const Launch& launch, auto args) {
      REQUIRE(refusal_code([&] { stream.launch(launch, args); }) == Code::kDevice);
      return refusal([&] { stream.launch(launch, args); });
    };
    REQUIRE(refused({"v4i_missing"}, OtherArgs{}).find("looking for the kernel v4i_missing") !=
            std::string::npos);
    REQUIRE(refused({"v4i_test_add"}, OtherArgs{}) ==
            "backend \"cuda:0\": v4i_test_add takes 24 bytes of arguments, not 4");
    REQUIRE(refused({"v4i_test_other", 1, 1, 1, 32, 227 << 10}, OtherArgs{}) ==
            "backend \"cuda:0\": device 0 (Fake): v4i_test_other asks for 232448 bytes of shared "
            "memory, and a block may have 231424");
    REQUIRE(refused({"v4i_test_other", 0, 1, 1, 32}, OtherArgs{})
                .find("launching v4i_test_other on 0x1x1 blocks of 32 threads") !=
            std::string::npos);
    {
      const Capture capture(stream);  // never ended
      REQUIRE_THROWS_AS(stream.wait(), v4i::Error);
    }
    stream.wait();
    stream.launch({"v4i_test_other"}, OtherArgs{});
  }
  require_clean(driver);
}

TEST_CASE("the calling thread's own context and capture mode are left as they were") {
  FakeDriver& driver = fake_driver();
  int mine = 0;
  driver.set_current(&mine);
  Budget budget;
  {
    const auto device = Device::open(open_plugin(), 0);
    REQUIRE(driver.current() == &mine);
    const Stream stream(device);
    const Capture capture(stream);
    const DeviceBuffer buffer(device, budget, Use::kScratch, 64, "within a capture");
    stream.launch({"v4i_test_other"}, OtherArgs{});
    REQUIRE(driver.current() == &mine);
    REQUIRE(driver.capture_mode() == 0);
  }
  REQUIRE(driver.current() == &mine);
  driver.set_current(nullptr);
  require_clean(driver);
}

TEST_CASE("several threads share a device") {
  FakeDriver& driver = fake_driver();
  Budget budget;
  {
    const auto device = Device::open(open_plugin(), 0);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&device, &budget] {
        const Stream stream(device);
        for (int i = 0; i < 50; ++i) {
          const DeviceBuffer a(device, budget, Use::kScratch, 400, "a");
          stream.fill(a.data(), 0, 400);
          stream.launch({"v4i_test_add"}, AddArgs{a.as<float>(), a.as<float>(), 100});
          stream.wait();
        }
      });
    for (std::thread& thread : threads) thread.join();
  }
  require_clean(driver);
}
