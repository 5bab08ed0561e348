// Child processes of a test, for what one process cannot show: being killed, sharing a folder.
#pragma once

#include <sys/types.h>

#include <functional>

namespace v4i::test {

// Runs `body` in a child; its result, 0 to 100, is the exit code.  No Catch2 macros in there.
pid_t start_child(const std::function<int()>& body);
// Its exit code; 1000 + the signal that ended it.
int wait_for_child(pid_t child);
inline int run_child(const std::function<int()>& body) { return wait_for_child(start_child(body)); }

}  // namespace v4i::test
