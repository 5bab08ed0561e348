// Physical cores by /sys/devices/system/cpu; see cores.h.
#include "lib/session/cores.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif

namespace v4i::session {

namespace {

#if defined(__linux__)

bool read_number(int cpu, const char* name, long* out) {
  std::ifstream in(fmt::format("/sys/devices/system/cpu/cpu{}/topology/{}", cpu, name));
  return static_cast<bool>(in >> *out);
}

int cores_of_affinity() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return 0;
  std::set<std::pair<long, long>> cores;  // package, core
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    long package = 0, core = 0;
    if (!read_number(cpu, "physical_package_id", &package)) return 0;
    if (!read_number(cpu, "core_id", &core)) return 0;
    cores.emplace(package, core);
  }
  return static_cast<int>(cores.size());
}

#else

int cores_of_affinity() { return 0; }

#endif

}  // namespace

int physical_cores() {
  const int cores = cores_of_affinity();
  return cores > 0 ? cores : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace v4i::session
