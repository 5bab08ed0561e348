// Section 3 of v4infer.h: engines, devices, budgets, the allocator, the log.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "tests/capi/fixture.h"

using namespace v4i::test;

namespace {

void create_refused(const v4i_engine_options& o, v4i_status want, const char* word) {
  v4i_engine* out = nullptr;
  refused(want, word, [&](v4i_error** err) { return v4i_engine_create(&o, &out, err); });
  CHECK(out == nullptr);
}

}  // namespace

TEST_CASE("Every engine option out of its range is refused by name, with the range") {
  auto o = v4infer::Engine::options();
  o.thread_count = 1025;
  create_refused(o, V4I_E_INVALID, "thread_count is 1025, allowed is 0 to 1024");
  o = v4infer::Engine::options();
  o.log_level = 9;
  create_refused(o, V4I_E_INVALID, "log_level is 9, allowed is 0 to 4");
  o = v4infer::Engine::options();
  o.backend = "cuda:0";
  create_refused(o, V4I_E_UNSUPPORTED, "cuda:0");
  o = v4infer::Engine::options();
  o.force_isa = "mmx";
  create_refused(o, V4I_E_UNSUPPORTED, "mmx");
  o = v4infer::Engine::options();
  o.abi_version = 7;
  create_refused(o, V4I_E_ABI, "abi_version is 7");
  auto allocator = v4infer::init<v4i_allocator>();
  o = v4infer::Engine::options();
  o.allocator = &allocator;
  create_refused(o, V4I_E_INVALID, "alloc and free");
  auto budget = v4infer::init<v4i_memory_budget>();
  budget.struct_size = 0;
  o = v4infer::Engine::options();
  o.budget = &budget;
  create_refused(o, V4I_E_ABI, "v4i_memory_budget");
  create_refused(v4i_engine_options{}, V4I_E_ABI, "struct_size");
  refused(V4I_E_INVALID, "NULL",
          [&](v4i_error** err) { return v4i_engine_create(nullptr, nullptr, err); });
}

TEST_CASE("The device is the processor, with its memory and the chosen kernels") {
  auto info = v4infer::init<v4i_device_info>();
  REQUIRE(v4i_engine_device_count(engine().get()) == 1);
  REQUIRE(v4i_engine_device_info(engine().get(), 0, &info, nullptr) == V4I_OK);
  CHECK(info.kind == 0);
  CHECK(info.name[0] != 0);
  CHECK(info.arch[0] != 0);
  CHECK(info.memory_total > 0);
  refused(V4I_E_INVALID, "device 1",
          [&](v4i_error** err) { return v4i_engine_device_info(engine().get(), 1, &info, err); });
}

TEST_CASE("A forced instruction set is the one that runs") {
  auto o = v4infer::Engine::options();
  o.force_isa = "scalar";
  const auto e = ok(v4infer::Engine::create(o));
  auto info = v4infer::init<v4i_device_info>();
  REQUIRE(v4i_engine_device_info(e.get(), 0, &info, nullptr) == V4I_OK);
  CHECK(info.arch == std::string("scalar"));
}

TEST_CASE("Memory statistics count what a session takes and forget it afterwards") {
  auto e = ok(v4infer::Engine::create());
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  const auto before = ok(e.memory());
  CHECK(before.host_scratch > 0);
  {
    auto s = ok(v4infer::Session::create(m));
    ok(s.append(some_tokens(300)));
    ok(s.prefill());
    const auto during = ok(e.memory());
    CHECK(during.host_kv > before.host_kv);
    CHECK(during.host_peak >= during.host_kv + during.host_scratch);
    CHECK(ok(s.info()).kv_host_bytes <= during.host_kv);
  }
  CHECK(ok(e.memory()).host_kv == before.host_kv);
}

TEST_CASE("A live budget refuses what no longer fits, and lets go of the rest") {
  auto e = ok(v4infer::Engine::create());
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  auto budget = v4infer::init<v4i_memory_budget>();
  budget.host_bytes = 1;
  ok(e.set_budget(budget));
  CHECK(v4infer::Session::create(m).error().code() == V4I_E_NO_MEMORY);
  budget.host_bytes = 0;
  ok(e.set_budget(budget));
  ok(v4infer::Session::create(m));
  refused(V4I_E_INVALID, "NULL",
          [&](v4i_error** err) { return v4i_engine_set_budget(e.get(), nullptr, err); });
}

TEST_CASE("Memory comes from the host's allocator and all of it goes back") {
  struct Counter {
    std::int64_t live = 0, calls = 0;
  } counter;
  auto a = v4infer::init<v4i_allocator>();
  a.user = &counter;
  a.alloc = [](std::size_t bytes, std::size_t align, void* user) -> void* {
    auto* c = static_cast<Counter*>(user);
    c->live += static_cast<std::int64_t>(bytes);
    ++c->calls;
    return std::aligned_alloc(align, (bytes + align - 1) / align * align);
  };
  a.free = [](void* p, std::size_t bytes, std::size_t, void* user) {
    static_cast<Counter*>(user)->live -= static_cast<std::int64_t>(bytes);
    std::free(p);
  };
  auto o = v4infer::Engine::options();
  o.allocator = &a;
  {
    auto e = ok(v4infer::Engine::create(o));
    const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
    auto s = ok(v4infer::Session::create(m));
    ok(s.append(some_tokens(20)));
    ok(s.prefill());
    CHECK(counter.calls > 0);
    CHECK(counter.live > 0);
  }
  CHECK(counter.live == 0);
}

TEST_CASE("An allocator that throws or has nothing left is NO_MEMORY, not a crash") {
  auto a = v4infer::init<v4i_allocator>();
  a.alloc = [](std::size_t, std::size_t, void*) -> void* { throw 42; };
  a.free = [](void*, std::size_t, std::size_t, void*) {};
  auto o = v4infer::Engine::options();
  o.allocator = &a;
  const auto e = ok(v4infer::Engine::create(o));
  CHECK(v4infer::Model::open(e, text_model_path().c_str()).error().code() == V4I_E_NO_MEMORY);
}

TEST_CASE("The log arrives on the calling thread, at the level that was asked for") {
  struct Lines {
    std::vector<std::string> text;
    std::vector<std::thread::id> thread;
  } lines;
  auto o = v4infer::Engine::options();
  o.log_user = &lines;
  o.log = [](std::int32_t, const char* component, const char* text, std::size_t len, void* user) {
    auto* l = static_cast<Lines*>(user);
    l->text.push_back(std::string(component) + ": " + std::string(text, len));
    l->thread.push_back(std::this_thread::get_id());
  };
  { const auto e = ok(v4infer::Engine::create(o)); }
  CHECK(lines.text.empty());  // the default is warnings
  o.log_level = V4I_LOG_INFO;
  const auto e = ok(v4infer::Engine::create(o));
  ok(v4infer::Model::open(e, text_model_path().c_str()));
  REQUIRE(lines.text.size() == 2);
  CHECK(lines.text[0].find("engine: created") == 0);
  CHECK(lines.text[1].find("model: opened") == 0);
  for (const auto id : lines.thread) CHECK(id == std::this_thread::get_id());
}

TEST_CASE("A log function that throws is V4I_E_INTERNAL with its text") {
  auto o = v4infer::Engine::options();
  o.log_level = V4I_LOG_INFO;
  o.log = [](std::int32_t, const char*, const char*, std::size_t, void*) {
    throw std::runtime_error("the log disk is full");
  };
  create_refused(o, V4I_E_INTERNAL, "the log disk is full");
}

TEST_CASE("After quiesce no callback runs, and calls that need one say so") {
  auto e = ok(v4infer::Engine::create());
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  auto s = ok(v4infer::Session::create(m));
  ok(s.append(some_tokens(10)));
  REQUIRE(v4i_engine_quiesce(e.get(), nullptr) == V4I_OK);
  int calls = 0;
  auto run = v4infer::init<v4i_run_options>();
  run.progress_user = &calls;
  run.progress = [](std::int32_t, std::uint64_t, std::uint64_t, void* user) -> std::int32_t {
    ++*static_cast<int*>(user);
    return 0;
  };
  ok(s.prefill(run));
  CHECK(calls == 0);
  CHECK(s.save([&](const void*, std::size_t) { return ++calls > 0; }).code() == V4I_E_STATE);
  auto g = v4infer::init<v4i_generate_options>();
  g.max_tokens = 2;
  const auto result = s.generate(g, [&](const v4i_step&) { return ++calls > 0; });
  CHECK(result.error().code() == V4I_E_STATE);
  CHECK(calls == 0);
  REQUIRE(v4i_engine_quiesce(e.get(), nullptr) == V4I_OK);  // twice is fine
}

TEST_CASE("Quiesce from inside a callback is refused, not a deadlock") {
  auto e = ok(v4infer::Engine::create());
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  auto s = ok(v4infer::Session::create(m));
  ok(s.append(some_tokens(3)));
  auto g = v4infer::init<v4i_generate_options>();
  v4i_status got = V4I_OK;
  s.generate(g, [&](const v4i_step&) {
    got = v4i_engine_quiesce(e.get(), nullptr);
    return true;
  });
  CHECK(got == V4I_E_STATE);
}

TEST_CASE("Engine metrics come as JSON and for Prometheus") {
  const auto text = [&](std::int32_t format) {
    return ok(v4infer::detail::text([&](v4i_buffer** b, v4i_error** err) {
      return v4i_engine_metrics(engine().get(), format, b, err);
    }));
  };
  CHECK(nlohmann::json::parse(text(V4I_FORMAT_JSON))["threads"] == 2);
  CHECK(text(V4I_FORMAT_PROMETHEUS).find("v4infer_threads 2\n") != std::string::npos);
  v4i_buffer* out = nullptr;
  refused(V4I_E_UNSUPPORTED, "format 2", [&](v4i_error** err) {
    return v4i_engine_metrics(engine().get(), V4I_FORMAT_CSV, &out, err);
  });
}

TEST_CASE("A forked child is told that the engine is the parent's, and may release") {
  auto e = ok(v4infer::Engine::create());
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  auto s = ok(v4infer::Session::create(m));
  const pid_t child = ::fork();
  if (child == 0) {
    const bool told =
        s.append("x").code() == V4I_E_STATE && m.tokenize("x").error().code() == V4I_E_STATE;
    s = v4infer::Session();
    e = v4infer::Engine();
    ::_exit(told ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  ok(s.append("x"));  // the parent goes on
}
