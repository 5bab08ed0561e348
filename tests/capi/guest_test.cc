// What a host must not notice, and what it must not be able to spoil: signals, the floating-point
// environment, threads that the system refuses, processors and priorities.
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <cfenv>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "tests/capi/fixture.h"
#include "tests/support/child.h"
#include "tests/support/flush_to_zero.h"

using namespace v4i::test;

namespace {

// A text and the logits behind it, of a session of a model that is opened for it.
struct Said {
  std::string text;
  std::vector<float> logits;
  bool operator==(const Said&) const = default;
};

Said say(int threads, const std::function<void()>& on_step = {}) {
  auto o = v4infer::Engine::options();
  o.thread_count = threads;
  const auto e = ok(v4infer::Engine::create(o));
  const auto m = ok(v4infer::Model::open(e, text_model_path().c_str()));
  auto s = ok(v4infer::Session::create(m));
  ok(s.append(some_tokens(150)));
  auto g = v4infer::init<v4i_generate_options>();
  g.max_tokens = 12;
  Said said;
  said.text = ok(s.generate(g, [&](const v4i_step&) {
    if (on_step) on_step();
    return true;
  }));
  const float* logits = nullptr;
  std::size_t count = 0;
  REQUIRE(v4i_session_logits(s.get(), &logits, &count, nullptr) == V4I_OK);
  said.logits.assign(logits, logits + count);
  return said;
}

struct KeepEnvironment {
  std::fenv_t before;
  KeepEnvironment() { std::fegetenv(&before); }
  ~KeepEnvironment() { std::fesetenv(&before); }
};

std::atomic<int> signals_seen{0};

// SIGUSR1 to the creating thread and SIGALRM to the process, each about a thousand times a second,
// with handlers that do not restart what they interrupt.
class Storm {
 public:
  Storm() {
    struct sigaction a {};
    a.sa_handler = [](int) { ++signals_seen; };
    ::sigaction(SIGUSR1, &a, &old_[0]);
    ::sigaction(SIGALRM, &a, &old_[1]);
    const itimerval each_ms{{0, 1000}, {0, 1000}};
    ::setitimer(ITIMER_REAL, &each_ms, nullptr);
    const pthread_t target = ::pthread_self();
    thread_ = std::thread([this, target] {
      sigset_t all;
      ::sigfillset(&all);
      ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
      while (!stop_) {
        ::pthread_kill(target, SIGUSR1);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  ~Storm() {
    stop_ = true;
    thread_.join();
    const itimerval none{};
    ::setitimer(ITIMER_REAL, &none, nullptr);
    ::sigaction(SIGUSR1, &old_[0], nullptr);
    ::sigaction(SIGALRM, &old_[1], nullptr);
  }

 private:
  struct sigaction old_[2]{};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace

TEST_CASE("Rounding and flushing of the caller change no bit, and are the caller's afterwards") {
  const KeepEnvironment keep;
  const Said wanted = say(2);
  for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST})
    for (bool flush : {false, true})
      for (int threads : {1, 2}) {
        CAPTURE(mode, flush, threads);
        const FlushToZero scope(flush);
        REQUIRE(std::fesetround(mode) == 0);
        int others = 0;
        const Said said = say(threads, [&] {  // in a callback it is the caller's, too
          others += std::fegetround() != mode;
          others += FlushToZero::happens() != flush;
        });
        const int after = std::fegetround();
        const bool flushes = FlushToZero::happens();
        std::fesetround(FE_TONEAREST);
        CHECK(said.text == wanted.text);
        CHECK(said.logits == wanted.logits);
        CHECK(others == 0);
        CHECK(after == mode);
        CHECK(flushes == flush);
      }
}

TEST_CASE("A storm of signals changes nothing, with one thread and with two") {
  for (int threads : {1, 2}) {
    const Said wanted = say(threads);
    signals_seen = 0;
    const Storm storm;
    while (signals_seen == 0) std::this_thread::yield();
    for (int again = 0; again < 5; ++again) CHECK(say(threads) == wanted);
  }
  CHECK(signals_seen > 1);
}

TEST_CASE("A signal that the host blocks in its threads finds no thread of the library") {
  const int code = run_child([] {
    auto o = v4infer::Engine::options();
    o.thread_count = 4;
    auto e = v4infer::Engine::create(o);
    auto m = v4infer::Model::open(*e, text_model_path().c_str());
    if (!e || !m) return 2;
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::kill(::getpid(), SIGTERM);  // ends the process where a thread lets it in
    auto s = v4infer::Session::create(*m);
    if (!s || s->append(some_tokens(20)) || s->prefill()) return 3;
    sigset_t pending;
    ::sigpending(&pending);
    return ::sigismember(&pending, SIGTERM) == 1 ? 0 : 4;
  });
  CHECK(code == 0);
}

namespace {

std::string log_of(v4i_engine_options o, v4infer::Result<v4infer::Engine>* out) {
  static std::string lines;  // the engine logs later, too
  lines.clear();
  o.log_user = &lines;
  o.log_level = V4I_LOG_INFO;
  o.log = [](std::int32_t, const char*, const char* text, std::size_t n, void* user) {
    *static_cast<std::string*>(user) += std::string(text, n) + "\n";
  };
  *out = v4infer::Engine::create(o);
  return lines;
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("An engine whose threads the system refuses has fewer, and says so") {
  const int code = run_child([] {
    long pages = 0;
    std::FILE* f = std::fopen("/proc/self/statm", "r");
    if (f == nullptr || std::fscanf(f, "%ld", &pages) != 1) return 2;
    std::fclose(f);
    const rlim_t room = static_cast<rlim_t>(pages) * 4096 + (rlim_t{32} << 20);
    const rlimit limit{room, room};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 3;
    auto o = v4infer::Engine::options();
    o.thread_count = 16;
    v4infer::Result<v4infer::Engine> e{v4infer::Error()};
    const std::string log = log_of(o, &e);
    if (!e) return e.error().code() == V4I_E_NO_MEMORY ? 0 : 4;
    return log.find(" of 16 threads: the system gives no more threads") != std::string::npos ? 0
                                                                                             : 5;
  });
  CHECK(code == 0);
}
#endif

TEST_CASE("Processors and the priority of threads are checked, used, and change no bit") {
  const auto engine_of = [](v4i_engine_options o) {
    v4i_engine* out = nullptr;
    v4i_error* err = nullptr;
    const v4i_status s = v4i_engine_create(&o, &out, &err);
    std::string text = err == nullptr ? "" : v4i_error_message(err);
    v4i_error_free(err);
    v4i_engine_release(out);
    return std::make_pair(s, text);
  };
  auto o = v4infer::Engine::options();
  o.thread_priority = 20;
  CHECK(engine_of(o) ==
        std::make_pair(V4I_E_INVALID, std::string("v4i_engine_options.thread_priority is "
                                                  "20, allowed is -20 to 19")));
  o = v4infer::Engine::options();
  o.cpu_count = 1;
  CHECK(engine_of(o).first == V4I_E_INVALID);
  const std::int32_t nowhere[] = {1022};
  o.cpus = nowhere;
  CHECK(engine_of(o).first == V4I_E_INVALID);
  CHECK(engine_of(o).second.find("CPU 1022 is not one that this thread may run on") == 0);
  cpu_set_t mask;
  REQUIRE(::sched_getaffinity(0, sizeof mask, &mask) == 0);
  std::int32_t first = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(first), &mask)) ++first;
  o.cpus = &first;
  o.thread_priority = 19;
  v4infer::Result<v4infer::Engine> e{v4infer::Error()};
  CHECK(log_of(o, &e).find("1 threads") != std::string::npos);  // one core of those
  o.thread_count = 3;
  CHECK(log_of(o, &e).find("3 threads") != std::string::npos);
  const auto m = ok(v4infer::Model::open(*e, text_model_path().c_str()));
  auto s = ok(v4infer::Session::create(m)), t = greedy_session();
  auto g = v4infer::init<v4i_generate_options>();
  g.max_tokens = 8;
  auto greedy = v4infer::init<v4i_sampler_options>();
  greedy.greedy = 1;
  v4i_sampler* sampler = nullptr;
  REQUIRE(v4i_sampler_create(m.get(), &greedy, &sampler, nullptr) == V4I_OK);
  REQUIRE(v4i_session_set_sampler(s.get(), sampler, nullptr, nullptr) == V4I_OK);
  v4i_sampler_release(sampler);
  ok(s.append(some_tokens(30)));
  ok(t.append(some_tokens(30)));
  CHECK(ok(s.generate(g)) == ok(t.generate(g)));
}
