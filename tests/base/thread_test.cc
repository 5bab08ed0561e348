// What a host would notice of the library's threads: their signals, name, priority, processors,
// floating-point environment; and what happens when the system gives none.
#include "lib/base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <cfenv>
#include <cstdio>
#include <string>

#include "lib/base/cores.h"
#include "lib/base/error.h"
#include "lib/base/thread_pool.h"
#include "tests/support/catch.h"
#include "tests/support/child.h"
#include "tests/support/flush_to_zero.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

using namespace v4i;

namespace {

sigset_t signals_of_this_thread() {
  sigset_t set;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &set);
  return set;
}

bool same_signals(const sigset_t& a, const sigset_t& b) {
  for (int s = 1; s < NSIG; ++s)
    if (::sigismember(&a, s) != ::sigismember(&b, s)) return false;
  return true;
}

}  // namespace

TEST_CASE("a thread of the library blocks every signal but those of faults", "[base]") {
  const sigset_t before = signals_of_this_thread();
  sigset_t inside;
  start_thread({"v4infer-test", 0, {}, {}}, [&] { inside = signals_of_this_thread(); }).join();
  for (int s : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGALRM, SIGCHLD, SIGPIPE, SIGPROF})
    CHECK(::sigismember(&inside, s) == 1);
  for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) CHECK(::sigismember(&inside, s) == 0);
  CHECK(same_signals(before, signals_of_this_thread()));
}

TEST_CASE("a thread computes in the default environment, whatever its creator's is", "[base]") {
  int rounding = -1;
  bool flushes = true;
  {
    const test::FlushToZero flush;
    std::fesetround(FE_UPWARD);
    start_thread({"v4infer-test", 0, {}, {}}, [&] {
      rounding = std::fegetround();
      flushes = test::FlushToZero::happens();
    }).join();
    CHECK(std::fegetround() == FE_UPWARD);
    std::fesetround(FE_TONEAREST);
  }
  CHECK(rounding == FE_TONEAREST);
  CHECK(!flushes);
}

#if defined(__linux__)

namespace {

std::string name_of_this_thread() {
  char name[32] = {};
  ::pthread_getname_np(::pthread_self(), name, sizeof name);
  return name;
}

int nice_of_this_thread() {
  return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)));
}

// Calls `look` on each thread of a pool but the caller's.
template <class Look>
void on_workers(ThreadPool& pool, Look&& look) {
  std::vector<char> seen(static_cast<std::size_t>(pool.size()));
  std::atomic<int> left{pool.size() - 1};
  while (left > 0)
    pool.share(pool.size(), ThreadPool::kMuch, [&](std::int64_t, int thread) {
      if (thread > 0 && seen[static_cast<std::size_t>(thread)] == 0) {
        look(thread);
        seen[static_cast<std::size_t>(thread)] = 1;
        --left;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    });
}

}  // namespace

TEST_CASE("workers are named, and have the priority and processors that were asked for", "[base]") {
  const int own_nice = nice_of_this_thread();
  const std::vector<int> own_cpus = allowed_cpus();
  REQUIRE(!own_cpus.empty());
  ThreadPoolOptions o;
  o.threads = 4;
  o.nice = std::min(own_nice + 3, 19);
  o.cpus = {own_cpus.back()};
  ThreadPool pool(o);
  REQUIRE(pool.size() == 4);
  CHECK(pool.refused().empty());
  std::vector<std::string> name(4);
  std::vector<int> nice(4);
  std::vector<std::vector<int>> cpus(4);
  on_workers(pool, [&](int t) {
    const auto at = static_cast<std::size_t>(t);
    name[at] = name_of_this_thread();
    nice[at] = nice_of_this_thread();
    cpus[at] = allowed_cpus();
  });
  for (std::size_t t = 1; t < 4; ++t) {
    CHECK(name[t] == fmt::format("v4infer-{}", t));
    CHECK(nice[t] == o.nice);
    CHECK(cpus[t] == o.cpus);
  }
  CHECK(nice_of_this_thread() == own_nice);
  CHECK(allowed_cpus() == own_cpus);
}

TEST_CASE("processors that there are not leave the threads where they were, and it is said",
          "[base]") {
  ThreadPoolOptions o;
  o.threads = 2;
  o.cpus = {1023};
  ThreadPool pool(o);
  REQUIRE(pool.size() == 2);
  REQUIRE(pool.refused().size() == 1);
  CHECK(pool.refused()[0].find("1 CPUs") != std::string::npos);
}

// Sanitizers reserve address space of their own; under them the limit would refuse everything.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("threads that the system refuses are missing, and the others do the work", "[base]") {
  const int code = test::run_child([] {
    long pages = 0;
    std::FILE* f = std::fopen("/proc/self/statm", "r");
    if (f == nullptr || std::fscanf(f, "%ld", &pages) != 1) return 2;
    std::fclose(f);
    const rlim_t room = static_cast<rlim_t>(pages) * 4096 + (rlim_t{40} << 20);
    const rlimit limit{room, room};  // for three or four stacks of 8 MiB
    if (::setrlimit(RLIMIT_AS, &limit) != 0) return 3;
    ThreadPool pool(16);
    if (pool.size() >= 16 || pool.refused().size() != 1) return 4;
    if (pool.refused()[0].find(fmt::format("{} of 16 threads", pool.size())) != 0) return 5;
    std::atomic<std::int64_t> sum{0};
    pool.run(1000, ThreadPool::kMuch, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) sum += i;
    });
    return sum == 499'500 ? 0 : 6;
  });
  CHECK(code == 0);
}
#endif

#endif
