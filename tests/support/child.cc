// Child processes; see child.h.
#include "tests/support/child.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>

#include "lib/base/error.h"

namespace v4i::test {

pid_t start_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child < 0) fail(Code::kInternal, "cannot start a child process");
  if (child > 0) return child;
  int code = 101;
  try {
    code = body();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "a child process ended with: %s\n", e.what());
  }
  ::_exit(code);
}

int wait_for_child(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace v4i::test
