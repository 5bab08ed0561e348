// Reads /proc/self/status; see memory.h.
#include "memory.h"

#include <fstream>
#include <string>

namespace cli {

MemoryUse memory_use() {
  std::ifstream in("/proc/self/status");
  MemoryUse out;
  std::string key, rest;
  while (in >> key) {
    std::uint64_t kib = 0;
    if (key == "VmHWM:" && in >> kib) out.peak_resident = kib * 1024;
    if (key == "RssAnon:" && in >> kib) out.anonymous = kib * 1024;
    std::getline(in, rest);
  }
  return out;
}

}  // namespace cli
