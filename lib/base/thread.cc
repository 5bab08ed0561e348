// Signal mask, name, priority and processors of a new thread; see thread.h.
#include "lib/base/thread.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/float_environment.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace v4i {

namespace {

// A thread is born with its creator's mask, so the creator blocks them meanwhile: none can arrive
// before the new thread would have blocked them itself.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    for (int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS}) ::sigdelset(&all, fault);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

#if defined(__linux__)

std::string reason(int number) { return std::generic_category().message(number); }

void set_name(const std::string& name) { ::pthread_setname_np(::pthread_self(), name.c_str()); }

// Priorities are a thread's own on Linux, against POSIX.
std::string set_nice(int nice) {
  if (nice == 0) return {};
  const auto id = static_cast<id_t>(::syscall(SYS_gettid));
  if (::setpriority(PRIO_PROCESS, id, nice) == 0) return {};
  return fmt::format("priority {}: {}", nice, reason(errno));
}

std::string set_cpus(const std::vector<int>& cpus) {
  if (cpus.empty()) return {};
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &mask);
  if (::sched_setaffinity(0, sizeof mask, &mask) == 0) return {};
  return fmt::format("its list of {} CPUs: {}", cpus.size(), reason(errno));
}

#else

#if defined(__APPLE__)
void set_name(const std::string& name) { ::pthread_setname_np(name.c_str()); }
#else
void set_name(const std::string&) {}
#endif
std::string set_nice(int nice) { return nice == 0 ? "" : "priorities: only on Linux"; }
std::string set_cpus(const std::vector<int>& cpus) {
  return cpus.empty() ? "" : "lists of CPUs: only on Linux";
}

#endif

void set_up(const ThreadOptions& o) {
  set_default_floats();
  set_name(o.name);
  std::string refused = set_cpus(o.cpus);
  if (const std::string nice = set_nice(o.nice); !nice.empty())
    refused += (refused.empty() ? "" : "; ") + nice;
  if (o.ready) o.ready(refused);
}

}  // namespace

std::thread start_thread(ThreadOptions options, std::function<void()> body) try {
  const SignalsBlocked blocked;
  return std::thread([o = std::move(options), b = std::move(body)] {
    set_up(o);
    b();
  });
} catch (const std::system_error& e) {
  fail(Code::kNoMemory, "the system gives no more threads: {}", e.code().message());
}

}  // namespace v4i
