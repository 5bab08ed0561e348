// kernels: planted/kernels
// The emulated device: order of streams and events, graphs, faults on request.
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cuda/plugin.h"
#include "tests/cuda/planted/kernels.h"
#include "tests/support/catch.h"

extern "C" int v4i_cuda_emulate(const char* what, long value);
extern "C" const v4i_cuda_api* v4i_cuda_plugin(void);

namespace v4i {
namespace {

using namespace kernels::cuda;

// A device with the sum of 512 ones: `in` -> `out` [2].
struct Fixture {
  Fixture() {
    v4i_cuda_emulate("reset", 0);
    REQUIRE(api.open(0, &device) == V4I_CUDA_OK);
    REQUIRE(api.make_stream(device, &a) == V4I_CUDA_OK);
    REQUIRE(api.make_stream(device, &b) == V4I_CUDA_OK);
    REQUIRE(api.make_event(device, &event) == V4I_CUDA_OK);
    REQUIRE(api.make_event(device, &back) == V4I_CUDA_OK);
    REQUIRE(api.find_kernel(device, "v4i_planted_sum", &kernel) == V4I_CUDA_OK);
    void *p = nullptr, *q = nullptr;
    REQUIRE(api.allocate(device, 2048, &p) == V4I_CUDA_OK);
    in = static_cast<float*>(p);
    REQUIRE(api.allocate(device, 8, &p) == V4I_CUDA_OK);
    out = static_cast<float*>(p);
    REQUIRE(api.allocate_pinned(device, 2048, &p, &q) == V4I_CUDA_OK);
    host = static_cast<float*>(p);
    for (int i = 0; i < 512; ++i) host[i] = 1;
  }
  ~Fixture() {
    api.close(device);
    v4i_cuda_emulate("reset", 0);
  }

  int upload(v4i_cuda_stream* s) { return api.copy(s, in, host, 2048, V4I_CUDA_TO_DEVICE); }
  int sum(v4i_cuda_stream* s) {
    const SumArgs args{in, out, 512, kRight};
    const Launch l = launch_sum(args);
    const std::uint32_t blocks[3] = {l.x, l.y, l.z};
    return api.launch(s, kernel, blocks, l.threads, l.shared, &args, sizeof args);
  }
  float first() {
    float v[2] = {};
    CHECK(api.copy(a, v, out, 8, V4I_CUDA_TO_HOST) == V4I_CUDA_OK);
    return v[0];
  }

  const v4i_cuda_api& api = *v4i_cuda_plugin();
  v4i_cuda_device* device = nullptr;
  v4i_cuda_stream *a = nullptr, *b = nullptr;
  v4i_cuda_event *event = nullptr, *back = nullptr;
  v4i_cuda_kernel* kernel = nullptr;
  float *in = nullptr, *out = nullptr, *host = nullptr;
};

TEST_CASE("A kernel runs on the emulated device") {
  Fixture f;
  CHECK(f.upload(f.a) == V4I_CUDA_OK);
  CHECK(f.sum(f.a) == V4I_CUDA_OK);
  CHECK(f.first() == 256.0f);
}

TEST_CASE("With late streams a missing event shows, and one that is there is kept") {
  Fixture f;
  v4i_cuda_emulate("late", 1);
  const bool followed = GENERATE(false, true);
  CHECK(f.upload(f.b) == V4I_CUDA_OK);
  CHECK(f.api.record(f.b, f.event) == V4I_CUDA_OK);
  if (followed) CHECK(f.api.follow(f.a, f.event) == V4I_CUDA_OK);
  CHECK(f.sum(f.a) == V4I_CUDA_OK);
  CHECK((f.first() == 256.0f) == followed);
}

TEST_CASE("With late streams host memory is read when the copy runs") {
  Fixture f;
  v4i_cuda_emulate("late", 1);
  CHECK(f.upload(f.a) == V4I_CUDA_OK);
  f.host[0] = 2;
  CHECK(f.sum(f.a) == V4I_CUDA_OK);
  CHECK(f.first() == 257.0f);
}

TEST_CASE("A graph of two streams runs again with what is in memory then") {
  Fixture f;
  v4i_cuda_emulate("late", GENERATE(0, 1));
  v4i_cuda_graph* graph = nullptr;
  CHECK(f.api.begin_capture(f.a) == V4I_CUDA_OK);
  CHECK(f.api.record(f.a, f.event) == V4I_CUDA_OK);
  CHECK(f.api.follow(f.b, f.event) == V4I_CUDA_OK);
  CHECK(f.upload(f.b) == V4I_CUDA_OK);
  CHECK(f.api.record(f.b, f.back) == V4I_CUDA_OK);
  CHECK(f.api.follow(f.a, f.back) == V4I_CUDA_OK);
  CHECK(f.sum(f.a) == V4I_CUDA_OK);
  REQUIRE(f.api.end_capture(f.a, &graph) == V4I_CUDA_OK);
  for (int i = 0; i < 3; ++i) {
    f.host[0] = static_cast<float>(i);
    CHECK(f.api.launch_graph(f.a, graph) == V4I_CUDA_OK);
    CHECK(f.first() == 255.0f + static_cast<float>(i));
  }
}

TEST_CASE("A graph with work that is not joined is refused") {
  Fixture f;
  v4i_cuda_graph* graph = nullptr;
  CHECK(f.api.begin_capture(f.a) == V4I_CUDA_OK);
  CHECK(f.api.record(f.a, f.event) == V4I_CUDA_OK);
  CHECK(f.api.follow(f.b, f.event) == V4I_CUDA_OK);
  CHECK(f.upload(f.b) == V4I_CUDA_OK);
  CHECK(f.api.end_capture(f.a, &graph) == V4I_CUDA_FAILED);
  CHECK_THAT(f.api.error(), Catch::Contains("not joined"));
}

TEST_CASE("Waiting while a graph is written down is refused") {
  Fixture f;
  v4i_cuda_graph* graph = nullptr;
  CHECK(f.api.begin_capture(f.a) == V4I_CUDA_OK);
  CHECK(f.api.wait_stream(f.a) == V4I_CUDA_FAILED);
  CHECK(f.api.end_capture(f.a, &graph) == V4I_CUDA_FAILED);
}

TEST_CASE("The device is lost when asked for, and from then on") {
  Fixture f;
  v4i_cuda_emulate("lose_after", 1);
  CHECK(f.upload(f.a) == V4I_CUDA_OK);
  CHECK(f.sum(f.a) == V4I_CUDA_OK);
  CHECK(f.sum(f.a) == V4I_CUDA_LOST);
  CHECK(f.upload(f.a) == V4I_CUDA_LOST);
  CHECK(f.api.wait_stream(f.a) == V4I_CUDA_LOST);
}

TEST_CASE("Memory ends, a device is absent, a build id is wrong: when asked for") {
  Fixture f;
  void* p = nullptr;
  v4i_cuda_emulate("no_memory_after", 3000);
  CHECK(f.api.allocate(f.device, 1000, &p) == V4I_CUDA_NO_MEMORY);
  CHECK(f.api.allocate(f.device, 900, &p) == V4I_CUDA_OK);
  v4i_cuda_device* other = nullptr;
  CHECK(f.api.open(1, &other) == V4I_CUDA_ABSENT);
  v4i_cuda_emulate("no_driver", 1);
  CHECK(f.api.open(0, &other) == V4I_CUDA_ABSENT);
  v4i_cuda_emulate("wrong_build_id", 1);
  CHECK(std::string(v4i_cuda_plugin()->build_id) != f.api.build_id);
}

TEST_CASE("Copies outside of an allocation are refused") {
  Fixture f;
  CHECK(f.api.copy(f.a, f.in, f.host, 2049, V4I_CUDA_TO_DEVICE) == V4I_CUDA_FAILED);
  CHECK(f.api.copy(f.a, f.host, f.host, 8, V4I_CUDA_WITHIN) == V4I_CUDA_OK);
  CHECK(f.api.fill(f.a, f.out + 1, 0, 8) == V4I_CUDA_FAILED);
}

}  // namespace
}  // namespace v4i
