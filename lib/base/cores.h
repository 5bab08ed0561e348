// How much of the machine this process may use: processors of its affinity mask, the physical
// cores among them, the CPU quota of its cgroup.
//
// Linux.  Elsewhere the mask is empty, there is no quota, and std::thread::hardware_concurrency()
// says the rest.
#pragma once

#include <string>
#include <vector>

namespace v4i {

// Processors that the calling thread may run on, rising.
std::vector<int> allowed_cpus();

// As the kernel writes lists of processors: "0-3,8".
std::string list_of(const std::vector<int>& cpus);

// Distinct cores among `cpus`, by <root>/sys/devices/system/cpu, so that two hyper-threads count
// once; 0 where they are not known.
int physical_cores(const std::vector<int>& cpus, const std::string& root = "");

// Processors' worth of time that the cgroup of this process and those above it leave it (cpu.max of
// v2, cpu.cfs_quota_us of v1; `docker run --cpus`); 0 without a limit.  Read from <root>/proc/self
// and <root>/sys/fs/cgroup, or where the mounts of <root>/proc/self/mountinfo say.
double cpu_quota(const std::string& root = "");

struct ThreadCounts {
  int threads;  // that computing pays for: one a physical core, and no more than the quota rounded
  int at_once;  // that can run at the same time: processors, and no more than the quota rounded up
};
// On `cpus`, or where empty on the processors of the calling thread.  Each is at least 1.
ThreadCounts thread_counts(const std::vector<int>& cpus, const std::string& root = "");

}  // namespace v4i
