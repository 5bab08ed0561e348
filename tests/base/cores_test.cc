// Processors, cores and quotas, of this machine and of machines made of files.
#include "lib/base/cores.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/catch.h"
#include "tests/support/scratch_folder.h"

using namespace v4i;

namespace {

// Files of a machine, by path.
class Machine {
 public:
  Machine& put(const std::string& path, const std::string& text) {
    const std::filesystem::path p = folder_.path() + path;
    std::filesystem::create_directories(p.parent_path());
    std::ofstream(p) << text;
    return *this;
  }
  // Processors, `threads` to a core.
  Machine& cpus(int count, int threads) {
    for (int i = 0; i < count; ++i) {
      const std::string cpu = "/sys/devices/system/cpu/cpu" + std::to_string(i) + "/topology/";
      put(cpu + "physical_package_id", "0\n");
      put(cpu + "core_id", std::to_string(i / threads) + "\n");
    }
    return *this;
  }
  const std::string& root() const { return folder_.path(); }

 private:
  test::ScratchFolder folder_;
};

constexpr const char* kV2 = "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kV1 =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

std::vector<int> first(int n) {
  std::vector<int> out;
  for (int i = 0; i < n; ++i) out.push_back(i);
  return out;
}

}  // namespace

TEST_CASE("there is at least one core and no more cores than processors", "[base]") {
  const ThreadCounts here = thread_counts({});
  CHECK(here.threads >= 1);
  CHECK(here.at_once >= 1);
  CHECK(here.threads <= static_cast<int>(std::thread::hardware_concurrency()));
#if defined(__linux__)
  CHECK(!allowed_cpus().empty());
  CHECK(thread_counts({allowed_cpus().front()}).threads == 1);
#endif
}

TEST_CASE("lists of processors are written as the kernel writes them", "[base]") {
  CHECK(list_of({}) == "");
  CHECK(list_of({3}) == "3");
  CHECK(list_of({0, 1, 2, 3, 8, 10, 11}) == "0-3,8,10-11");
}

TEST_CASE("two hyper-threads are one core, and two packages have their own", "[base]") {
  Machine m;
  m.cpus(8, 2);
  CHECK(physical_cores(first(8), m.root()) == 4);
  CHECK(physical_cores({0, 1}, m.root()) == 1);
  CHECK(physical_cores({0, 2, 5}, m.root()) == 3);
  m.put("/sys/devices/system/cpu/cpu1/topology/physical_package_id", "1");
  CHECK(physical_cores({0, 1}, m.root()) == 2);
  CHECK(physical_cores({0, 9}, m.root()) == 0);  // not known
}

TEST_CASE("the quota of a cgroup is the least of its own and those above it", "[base]") {
  Machine m;
  CHECK(cpu_quota(m.root()) == 0);  // nothing is mounted
  m.put("/proc/self/mountinfo", kV2).put("/proc/self/cgroup", "0::/a/b\n");
  CHECK(cpu_quota(m.root()) == 0);
  m.put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  CHECK(cpu_quota(m.root()) == 0);
  m.put("/sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  CHECK(cpu_quota(m.root()) == 0.5);
  m.put("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
  CHECK(cpu_quota(m.root()) == 0.5);
  m.put("/sys/fs/cgroup/a/cpu.max", "800000 100000\n");
  CHECK(cpu_quota(m.root()) == 1.5);
  m.put("/sys/fs/cgroup/a/b/cpu.max", "rubbish").put("/sys/fs/cgroup/a/cpu.max", "-5 0");
  CHECK(cpu_quota(m.root()) == 0);
}

TEST_CASE("cgroup v1 has its quota where the controller cpu is mounted", "[base]") {
  Machine m;
  m.put("/proc/self/mountinfo", kV1);
  m.put("/proc/self/cgroup", "3:cpuset:/other\n2:cpu,cpuacct:/docker/x\n0::/\n");
  const std::string group = "/sys/fs/cgroup/cpu,cpuacct/docker/x/";
  m.put(group + "cpu.cfs_quota_us", "-1\n").put(group + "cpu.cfs_period_us", "100000\n");
  CHECK(cpu_quota(m.root()) == 0);
  m.put(group + "cpu.cfs_quota_us", "250000\n");
  CHECK(cpu_quota(m.root()) == 2.5);
}

TEST_CASE("a container sees its own cgroup at the mount's top, under the host's name", "[base]") {
  Machine m;
  m.put("/proc/self/mountinfo",
        "40 39 0:30 /docker/x /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n");
  m.put("/proc/self/cgroup", "4:cpu:/docker/x\n");
  m.put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000")
      .put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  CHECK(cpu_quota(m.root()) == 0.5);
  m.put("/proc/self/cgroup", "4:cpu:/elsewhere\n");  // not below what is mounted: its top counts
  CHECK(cpu_quota(m.root()) == 0.5);
}

TEST_CASE("the default number of threads follows cores and the quota", "[base]") {
  Machine m;
  m.cpus(8, 2).put("/proc/self/mountinfo", kV2).put("/proc/self/cgroup", "0::/\n");
  struct Case {
    const char* quota;
    int threads, at_once;
  };
  for (const Case& c :
       {Case{"max 100000", 4, 8}, Case{"50000 100000", 1, 1}, Case{"100000 100000", 1, 1},
        Case{"140000 100000", 1, 2}, Case{"150000 100000", 2, 2}, Case{"300000 100000", 3, 3},
        Case{"900000 100000", 4, 8}}) {
    CAPTURE(c.quota);
    m.put("/sys/fs/cgroup/cpu.max", c.quota);
    const ThreadCounts counts = thread_counts(first(8), m.root());
    CHECK(counts.threads == c.threads);
    CHECK(counts.at_once == c.at_once);
  }
}
