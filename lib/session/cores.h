// How many physical cores this process may run on.
#pragma once

namespace v4i::session {

// Linux: the distinct cores of the processors in the affinity mask, by sysfs, so
// that two hyper-threads count once.  Elsewhere, or when sysfs is unreadable, what
// std::thread::hardware_concurrency() says.  At least 1.
int physical_cores();

}  // namespace v4i::session
