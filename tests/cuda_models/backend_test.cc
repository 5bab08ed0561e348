// What is particular to the CUDA backend: experts on two machines, graphs, faults of the device.
#include "lib/forward/cuda/backend.h"

#include <dlfcn.h>

#include <cmath>
#include <cstring>

#include "lib/session/context.h"
#include "lib/session/session.h"
#include "tests/forward/rig.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::session::test;
using forward::Numerics;

namespace {

// Asks the emulated device for a fault; see tests/cuda/README.md.
void emulate(const char* what, long value) {
  static void* library = ::dlopen(V4I_TEST_CUDA, RTLD_NOW);
  using Ask = int (*)(const char*, long);
  REQUIRE(library != nullptr);
  const auto ask = reinterpret_cast<Ask>(::dlsym(library, "v4i_cuda_emulate"));
  REQUIRE(ask != nullptr);
  REQUIRE(ask(what, value) != 0);  // it knows what is meant
}

struct Faults {  // none are left behind
  Faults() { emulate("reset", 0); }
  ~Faults() { emulate("reset", 0); }
};

std::shared_ptr<session::Engine> cuda_engine(std::uint64_t device_bytes = 0,
                                             const std::string& isa = "") {
  session::EngineOptions o;
  o.threads = 2;
  o.device_bytes = device_bytes;
  o.backend = {"cuda:0", isa, V4I_TEST_CUDA};
  return std::make_shared<session::Engine>(o);
}

std::shared_ptr<session::Engine> cpu_engine() {
  session::EngineOptions o;
  o.threads = 1;
  return std::make_shared<session::Engine>(o);
}

// What a context takes of the device when everything fits.
std::uint64_t all_bytes(const Open& o) {
  const auto engine = cuda_engine();
  const auto context = open(engine, o);
  return engine->budget().used(Place::kDevice);
}

// The smallest of these budgets that opens leaves experts to the CPU.
struct Split {
  std::shared_ptr<session::Context> context;
  std::string identity;
};
Split split_context(const Open& o) {
  const std::uint64_t all = all_bytes(o);
  for (std::uint64_t permille = 1200; permille > 900; permille -= 2) {
    const auto engine = cuda_engine(all * permille / 1000, "scalar");
    try {
      auto context = open(engine, o);
      const std::string name = context->forward().identity();
      if (name.find("-scalar") != name.npos) return {std::move(context), name};
    } catch (const Error& e) {
      CHECK(e.code() == Code::kNoMemory);
      break;
    }
  }
  FAIL("no budget splits the experts");
  return {};
}

}  // namespace

TEST_CASE("a model with DSpark stages runs without drafts, which are refused by name", "[cuda]") {
  const auto context = open(cuda_engine(), {.path = v4i::test::make_tiny(0, 64, true)});
  forward::Forward& f = context->forward();
  CHECK_FALSE(f.has_dspark());
  kv::State draft(std::make_shared<const kv::Layout>(f.draft_layout()), context->cache(), {});
  const Ids ids = make_ids(3);
  const std::vector<float> taps(3 * 3 * 256);
  CHECK(has(error_of([&] { f.feed_dspark(draft, ids, taps.data(), nullptr); }),
            "DSpark drafts are there on backend \"cpu\" only"));
  const auto s = make_session(context);
  s->append(ids);
  session::RunOptions run;
  run.max_tokens = 16;
  for (int i = 0; i < 4; ++i) CHECK(s->step(run).tokens.size() == 1);
  CHECK(s->metrics().drafted == 0);
}

TEST_CASE("experts on the device and on the CPU give the oracle's exact logits") {
  const Faults faults;
  const v4i::test::Golden golden(0);
  auto ids = v4i::test::read_ids(golden.model());
  ids.resize(60);
  const auto want = golden.read("exact_logits");
  Open o;
  o.numerics = Numerics::kExact;
  const Split split = split_context(o);
  INFO(split.identity);
  const auto s = make_session(split.context);
  const Logits got = eval(*s, ids, 17);
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - want[i]));
  CHECK(worst < 1e-4);
}

TEST_CASE("which experts the CPU computes is part of a session's origin") {
  const Faults faults;
  const auto whole = open(cuda_engine());
  const auto s = make_session(whole);
  s->append(make_ids(20));
  s->prefill({});
  const std::string bytes = save(*s);
  const Split split = split_context({});
  const std::string error = error_of([&] { restore(split.context, bytes); });
  CHECK(has(error, "-6 session was saved with the \"cuda-emulated\" kernels, this engine uses \"" +
                       split.identity + "\""));
}

TEST_CASE("a session saved on the CPU is refused on the device, or recomputed when asked so") {
  const Faults faults;
  const auto on_cpu = make_session(open(cpu_engine()));
  on_cpu->append(make_ids(40));
  on_cpu->prefill({});
  const std::string bytes = save(*on_cpu);
  const auto device = open(cuda_engine());
  CHECK(has(error_of([&] { restore(device, bytes); }),
            "this engine uses \"cuda-emulated\"; their results differ in the last bits"));
  session::SessionOptions recompute;
  recompute.recompute = true;
  std::size_t at = 0;
  const auto copy = session::Session::restore(device, recompute, [&](void* p, std::size_t n) {
    at += bytes.copy(static_cast<char*>(p), n, at);
  });
  CHECK(copy->pending() == 40);
  copy->prefill({});
  const auto fresh = make_session(device);
  fresh->append(make_ids(40));
  fresh->prefill({});
  CHECK(last(*copy) == last(*fresh));
}

TEST_CASE("a step as a graph and kernel by kernel give the same bits") {
  const Faults faults;
  const auto context = open(cuda_engine());
  const auto graphs = make_session(context);
  session::SessionOptions timed;
  timed.profile = true;  // runs with a profile are not captured
  const auto direct = std::make_unique<session::Session>(context, timed);
  for (auto* s : {graphs.get(), direct.get()}) {
    s->set_sampler(greedy());
    s->append(make_ids(30));
    s->prefill({});
  }
  for (int i = 0; i < 40; ++i) {
    REQUIRE(graphs->step({}).token == direct->step({}).token);
    REQUIRE(last(*graphs) == last(*direct));
  }
  CHECK(direct->profile()->decode().runs == 39);
  CHECK(direct->profile()->decode().experts > 0);
}

TEST_CASE("device memory is counted, and a budget without room is refused by name") {
  const Faults faults;
  const auto engine = cuda_engine();
  {
    const auto context = open(engine);
    Budget& b = engine->budget();
    CHECK(b.used(Use::kWeights, Place::kDevice) > 100'000);
    CHECK(b.used(Use::kScratch, Place::kDevice) > 100'000);
    CHECK(b.used(Use::kKv, Place::kDevice) == 0);
    const auto s = make_session(context);
    CHECK(b.used(Use::kKv, Place::kDevice) > 0);
    CHECK(b.used(Use::kKv, Place::kHost) < 100'000);
  }
  CHECK(engine->budget().used(Place::kDevice) == 0);
  CHECK(engine->budget().used(Place::kPinned) == 0);
  const std::string error = error_of([&] { open(cuda_engine(200'000)); });
  CHECK(has(error, "-3 "));
  CHECK(has(error, "everything but the experts takes "));
}

TEST_CASE("a device that is lost in mid-run ends its sessions with a sentence, and nothing else") {
  const Faults faults;
  const auto engine = cuda_engine();
  const auto context = open(engine);
  for (const long launches : {1L, 10L, 57L}) {
    CAPTURE(launches);
    const auto lost_engine = cuda_engine();
    const auto lost_context = open(lost_engine);
    const auto s = make_session(lost_context);
    s->append(make_ids(10));
    emulate("lose_after", launches);
    const std::string error = error_of([&] { s->prefill({}); });
    emulate("lose_after", -1);
    CHECK(has(error, "-11 backend \"cuda:0\": "));
    CHECK(has(error, "lost"));
    CHECK(s->position() == 0);
    CHECK(has(error_of([&] { s->prefill({}); }), "-11 "));
    CHECK(has(error_of([&] { save(*s); }), "-11 "));
  }
  const auto cpu = make_session(open(cpu_engine()));
  cpu->append(make_ids(10));
  cpu->prefill({});
  const auto again = make_session(open(cuda_engine()));
  again->append(make_ids(10));
  again->prefill({});
  CHECK(again->position() == 10);
}

TEST_CASE("device memory that runs out is a sentence, and the engine goes on") {
  const Faults faults;
  const auto engine = cuda_engine();
  const auto context = open(engine);
  const auto s = make_session(context);
  s->append(make_ids(10));
  s->prefill({});
  emulate("no_memory_after", 0);
  CHECK(has(error_of([&] { make_session(context); }), "-3 "));
  CHECK(has(error_of([&] { open(engine); }), "-3 "));
  emulate("no_memory_after", -1);
  s->append(make_ids(5));
  s->prefill({});
  CHECK(s->position() == 15);
}

TEST_CASE("backends that are not here are refused with what is missing") {
  const Faults faults;
  const auto error = [](session::BackendOptions o) {
    return error_of([&] {
      session::EngineOptions e;
      e.backend = std::move(o);
      session::Engine engine(e);
    });
  };
  CHECK(
      has(error({"cuda:0,1", "", V4I_TEST_CUDA}), "-6 backend \"cuda:0,1\": one device at a time"));
  CHECK(has(error({"cuda:x", "", V4I_TEST_CUDA}), "-6 backend \"cuda:x\": there are \"cpu\" and"));
  CHECK(has(error({"metal", "", ""}), "-6 backend \"metal\": there are \"cpu\" and"));
  CHECK(has(error({"cuda:7", "", V4I_TEST_CUDA}), "-6 backend \"cuda:7\": "));
  CHECK(has(error({"cuda:0", "", "/nowhere/libv4infer-cuda.so"}), "-6 backend \"cuda:0\": "));
  emulate("no_driver", 1);
  CHECK(has(error({"cuda:0", "", V4I_TEST_CUDA}), "-6 backend \"cuda:0\": "));
  CHECK(has(error_of([] { open(cuda_engine(), {.numerics = Numerics::kFast}); }), "-6 "));
}
