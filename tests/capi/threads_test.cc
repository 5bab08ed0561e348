// Wrong threading is an error, right threading is fast and correct.  Also run under
// ThreadSanitizer (preset tsan).
#include <atomic>
#include <thread>
#include <vector>

#include "tests/capi/fixture.h"

using namespace v4i::test;

TEST_CASE("Two threads on one session: every call is OK or BUSY, and nothing is lost") {
  v4infer::Session s = new_session();
  std::atomic<int> done{0}, busy{0}, other{0};
  const auto work = [&] {
    for (int i = 0; i < 4000; ++i) {
      v4i_session_info info = v4infer::init<v4i_session_info>();
      const v4i_token t = 5;
      const v4i_status r = i % 4 == 0 ? v4i_session_append_tokens(s.get(), &t, 1, nullptr)
                                      : v4i_session_get_info(s.get(), &info, nullptr);
      if (r == V4I_OK)
        done += i % 4 == 0 ? 1 : 0;
      else if (r == V4I_E_BUSY)
        ++busy;
      else
        ++other;
    }
  };
  std::thread a(work), b(work);
  a.join();
  b.join();
  CHECK(other == 0);
  CHECK(ok(s.info()).pending == static_cast<std::uint64_t>(done));
}

TEST_CASE("A call during a long one is BUSY at once") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(3)));
  std::atomic<bool> inside{false}, leave{false};
  auto o = v4infer::init<v4i_generate_options>();
  o.max_tokens = 3;
  std::thread runner([&] {
    s.generate(o, [&](const v4i_step&) {
      inside = true;
      while (!leave) std::this_thread::yield();
      return true;
    });
  });
  while (!inside) std::this_thread::yield();
  CHECK(s.step().error().code() == V4I_E_BUSY);
  CHECK(s.info().error().code() == V4I_E_BUSY);  // another thread's callback, not ours
  CHECK(s.append("x").code() == V4I_E_BUSY);
  leave = true;
  runner.join();
}

namespace {

// generate() on a thread of its own, which stays in its first on_step until leave() is called.
class HeldCall {
 public:
  HeldCall(v4i_session* s, v4i_run_options* run) : session_(s) {
    options_.max_tokens = 100;
    options_.run = run;
    options_.on_step_user = this;
    options_.on_step = [](v4i_session*, const v4i_step*, void* user) -> std::int32_t {
      auto& call = *static_cast<HeldCall*>(user);
      if (call.steps++ == 0)
        while (!call.leave_) std::this_thread::yield();
      return 0;
    };
    thread_ = std::thread(
        [this] { status = v4i_session_generate(session_, &options_, nullptr, &finish, nullptr); });
    while (steps == 0) std::this_thread::yield();
  }
  void leave() {
    leave_ = true;
    thread_.join();
  }

  std::atomic<int> steps{0};
  v4i_status status = 1;
  std::int32_t finish = -1;

 private:
  v4i_session* session_;
  v4i_generate_options options_ = v4infer::init<v4i_generate_options>();
  std::atomic<bool> leave_{false};
  std::thread thread_;
};

}  // namespace

TEST_CASE("Release of a session returns during its call, which ends cancelled and frees it") {
  const auto e = ok(v4infer::Engine::create());
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  const auto before = ok(e.memory());
  auto s = ok(v4infer::Session::create(m));
  ok(s.append(some_tokens(200)));
  auto cancel = ok(v4infer::Cancel::create());
  auto run = v4infer::init<v4i_run_options>();
  run.cancel = cancel.get();
  HeldCall call(s.get(), &run);
  { const v4infer::Session gone(std::move(s)); }  // were it to wait for the call, no end
  CHECK(ok(e.memory()).host_kv > before.host_kv);
  call.leave();
  CHECK(call.status == V4I_E_CANCELLED);
  CHECK(call.steps == 1);  // on_step is not called with a handle that is gone
  CHECK(ok(e.memory()).host_kv == before.host_kv);
}

TEST_CASE("Release inside of a callback ends the call of that session") {
  struct Host {
    v4i_session* session = nullptr;
    int steps = 0;
  } host;
  REQUIRE(v4i_session_create(model().get(), nullptr, &host.session, nullptr) == V4I_OK);
  const v4infer::Tokens tokens = some_tokens(5);
  REQUIRE(v4i_session_append_tokens(host.session, tokens.data(), 5, nullptr) == V4I_OK);
  auto o = v4infer::init<v4i_generate_options>();
  o.max_tokens = 50;
  o.on_step_user = &host;
  o.on_step = [](v4i_session* session, const v4i_step*, void* user) -> std::int32_t {
    auto& h = *static_cast<Host*>(user);
    if (h.steps++ == 0) v4i_session_release(session);
    return 0;
  };
  CHECK(v4i_session_generate(host.session, &o, nullptr, nullptr, nullptr) == V4I_E_CANCELLED);
  CHECK(host.steps == 1);
}

TEST_CASE("Sessions of one model on many threads say what they say alone") {
  const auto text = [](std::uint64_t seed) {
    auto o = v4infer::init<v4i_session_options>();
    o.seed = seed;
    auto s = ok(v4infer::Session::create(model(), o));
    ok(s.append("Once upon a time"));
    auto g = v4infer::init<v4i_generate_options>();
    g.max_tokens = 6;
    auto r = s.generate(g);
    return r ? *r : std::string(r.error().message());
  };
  std::vector<std::string> alone, together(4);
  for (std::uint64_t i = 0; i < 4; ++i) alone.push_back(text(i));
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      auto o = v4infer::init<v4i_session_options>();
      o.seed = i;
      auto s = v4infer::Session::create(model(), o);
      s->append("Once upon a time");
      auto g = v4infer::init<v4i_generate_options>();
      g.max_tokens = 6;
      together[i] = *s->generate(g);
    });
  for (auto& t : threads) t.join();
  CHECK(together == alone);
}

TEST_CASE("Cancel from another thread stops a prefill, and the session goes on") {
  v4infer::Session s = new_session();
  ok(s.append(some_tokens(2000)));
  auto cancel = ok(v4infer::Cancel::create());
  std::atomic<bool> started{false};
  auto run = v4infer::init<v4i_run_options>();
  run.cancel = cancel.get();
  run.chunk_tokens = 4;
  run.progress_user = &started;
  run.progress = [](std::int32_t, std::uint64_t, std::uint64_t, void* user) -> std::int32_t {
    *static_cast<std::atomic<bool>*>(user) = true;
    return 0;
  };
  std::thread stopper([&] {
    while (!started) std::this_thread::yield();
    cancel.signal();
  });
  const auto e = s.prefill(run);
  stopper.join();
  CHECK(e.code() == V4I_E_CANCELLED);
  CHECK(ok(s.info()).position < 2000);
  ok(s.rewind(10));
  ok(s.prefill());
}

TEST_CASE("Quiesce waits for a callback that is running") {
  auto e = ok(v4infer::Engine::create());
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  auto s = ok(v4infer::Session::create(m));
  ok(s.append("x"));
  std::atomic<bool> inside{false}, leave{false}, quiet{false};
  std::thread runner([&] {
    auto o = v4infer::init<v4i_generate_options>();
    s.generate(o, [&](const v4i_step&) {
      inside = true;
      while (!leave) std::this_thread::yield();
      return true;
    });
  });
  while (!inside) std::this_thread::yield();
  std::thread quiesce([&] {
    v4i_engine_quiesce(e.get(), nullptr);
    quiet = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!quiet);
  leave = true;
  runner.join();
  quiesce.join();
  CHECK(quiet);
}
