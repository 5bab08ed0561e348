// Affinity by sched_getaffinity, cores by sysfs, quotas by cgroupfs; see cores.h.
#include "lib/base/cores.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif

namespace v4i {

namespace {

bool read_number(const std::string& path, long* out) {
  std::ifstream in(path);
  return static_cast<bool>(in >> *out);
}

// A cgroup hierarchy that may limit CPU time: v2, or v1's with the controller "cpu".
struct Hierarchy {
  bool v2;
  std::string mount;  // where it is mounted
  std::string top;    // the cgroup that the mount shows
  std::string group;  // that of this process, from the hierarchy's root
};

bool in_list(const std::string& list, const std::string& word) {
  return fmt::format(",{},", list).find(fmt::format(",{},", word)) != std::string::npos;
}

// /proc/self/mountinfo: "31 23 0:28 /top /mount options [tags] - type source super-options".
std::vector<Hierarchy> mounted(const std::string& root) {
  std::vector<Hierarchy> out;
  std::ifstream in(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string skip, top, mount, type, source, options;
    before >> skip >> skip >> skip >> top >> mount;
    after >> type >> source >> options;
    if (type == "cgroup2" || (type == "cgroup" && in_list(options, "cpu")))
      out.push_back({type == "cgroup2", mount, top, ""});
  }
  return out;
}

// /proc/self/cgroup: "id:controllers:/group", of v2 "0::/group".
void find_groups(const std::string& root, std::vector<Hierarchy>& all) {
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const std::size_t a = line.find(':'), b = line.find(':', a + 1);
    if (a == std::string::npos || b == std::string::npos) continue;
    const std::string controllers = line.substr(a + 1, b - a - 1);
    for (Hierarchy& h : all)
      if (h.v2 ? controllers.empty() : in_list(controllers, "cpu")) h.group = line.substr(b + 1);
  }
}

// Of one cgroup; 0 without a limit.
double quota_of(const std::string& folder, bool v2) {
  double quota = 0, period = 0;
  if (v2) {
    std::ifstream in(folder + "/cpu.max");  // "50000 100000" or "max 100000"
    if (!(in >> quota >> period)) return 0;
  } else {
    std::ifstream a(folder + "/cpu.cfs_quota_us"), b(folder + "/cpu.cfs_period_us");
    if (!(a >> quota) || !(b >> period)) return 0;  // -1: no limit
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The least of a process's cgroup and those above, as far as the mount shows them.
double least_quota(const std::string& root, const Hierarchy& h) {
  std::string path = h.group;
  if (h.top != "/")  // the mount begins at `top`; a group that is not below it is not shown
    path = path.rfind(h.top, 0) == 0 ? path.substr(h.top.size()) : "";
  double least = 0;
  for (;;) {
    const double quota = quota_of(root + h.mount + path, h.v2);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
    if (path.empty() || path == "/") return least;
    path.resize(path.find_last_of('/'));
  }
}

}  // namespace

std::vector<int> allowed_cpus() {
  std::vector<int> out;
#if defined(__linux__)
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (::sched_getaffinity(0, sizeof mask, &mask) != 0) return out;  // more than 1,024 processors
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &mask)) out.push_back(cpu);
#endif
  return out;
}

std::string list_of(const std::vector<int>& cpus) {
  std::string out;
  for (std::size_t i = 0, last; i < cpus.size(); i = last + 1) {
    for (last = i; last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1;) ++last;
    out += fmt::format("{}{}", out.empty() ? "" : ",", cpus[i]);
    if (last > i) out += fmt::format("-{}", cpus[last]);
  }
  return out;
}

int physical_cores(const std::vector<int>& cpus, const std::string& root) {
  std::set<std::pair<long, long>> cores;  // package, core
  for (int cpu : cpus) {
    const std::string folder = fmt::format("{}/sys/devices/system/cpu/cpu{}/topology/", root, cpu);
    long package = 0, core = 0;
    if (!read_number(folder + "physical_package_id", &package)) return 0;
    if (!read_number(folder + "core_id", &core)) return 0;
    cores.emplace(package, core);
  }
  return static_cast<int>(cores.size());
}

double cpu_quota(const std::string& root) {
  std::vector<Hierarchy> all = mounted(root);
  find_groups(root, all);
  double least = 0;
  for (const Hierarchy& h : all) {
    const double quota = least_quota(root, h);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
  }
  return least;
}

ThreadCounts thread_counts(const std::vector<int>& cpus, const std::string& root) {
  const std::vector<int> mine = cpus.empty() ? allowed_cpus() : cpus;
  const auto hardware = static_cast<int>(std::thread::hardware_concurrency());
  const int logical = std::max(1, mine.empty() ? hardware : static_cast<int>(mine.size()));
  const int cores = physical_cores(mine, root);
  ThreadCounts out{cores > 0 ? cores : logical, logical};
  if (const double quota = cpu_quota(root); quota > 0 && quota < logical) {
    out.threads = std::min(out.threads, std::max(1, static_cast<int>(std::lround(quota))));
    out.at_once = std::min(out.at_once, std::max(1, static_cast<int>(std::ceil(quota))));
  }
  return out;
}

}  // namespace v4i
