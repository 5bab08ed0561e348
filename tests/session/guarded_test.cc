// The guard guards: what the suite shows under V4I_TEST_GUARDED depends on it.
#include "tests/session/guarded.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "lib/base/thread_pool.h"
#include "tests/session/fixture.h"
#include "tests/support/catch.h"

namespace v4i::session::test {

namespace {

// The signal that ends a child which reads the byte at `p`; 0 when it lives on.
int signal_of_reading(const std::byte* p) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    const volatile std::byte* at = p;
    const std::byte read = *at;
    ::_exit(read == std::byte{0} ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

TEST_CASE("the guarded backend's memory cannot be read outside of its calls", "[session]") {
  Budget budget;
  ThreadPool pool(1);
  const auto backend = guarded_backend({}, pool, budget);
  const store::Slot slot(*backend->memory(), 100, "a test");
  CHECK(signal_of_reading(slot.data()) == SIGSEGV);
  const store::HostMemory host(budget);
  std::byte got{1};
  backend->memory()->download(&got, slot.data(), 1);
  CHECK(got == std::byte{0});
  CHECK(budget.used(Use::kKv) == 100);
}

TEST_CASE("the suite runs on the backend that it was built for", "[session]") {
#if defined(V4I_TEST_GUARDED)
  CHECK(std::string(make_engine()->backend().name()) == "guarded");
#elif defined(V4I_TEST_CUDA)
  CHECK(std::string(make_engine()->backend().name()) == "cuda");
#else
  CHECK(std::string(make_engine()->backend().name()) == "cpu");
#endif
}

}  // namespace v4i::session::test
