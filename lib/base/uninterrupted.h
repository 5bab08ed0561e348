// System calls that a signal handler of the host may interrupt, made until they are done.
#pragma once

#include <cerrno>

namespace v4i {

// For calls that return -1 and set errno.
template <class Call>
auto uninterrupted(Call&& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace v4i
