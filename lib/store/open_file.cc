// open_for_reads: O_DIRECT where it works; see open_file.h.
#include "lib/store/open_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "lib/base/uninterrupted.h"

namespace v4i::store {

namespace {

#ifdef O_DIRECT
constexpr std::size_t kAlign = 4096;

// Some file systems accept O_DIRECT and refuse the read.
bool reads_directly(int fd) {
  void* page = nullptr;
  if (::posix_memalign(&page, kAlign, kAlign) != 0) return false;
  const bool works = uninterrupted([&] { return ::pread(fd, page, kAlign, 0); }) >= 0;
  std::free(page);
  return works;
}
#endif

}  // namespace

int open_for_reads(const std::string& path, bool direct) {
#ifdef O_DIRECT
  const int fd =
      direct ? uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT); })
             : -1;
  if (fd >= 0 && reads_directly(fd)) return fd;
  if (fd >= 0) ::close(fd);
#else
  static_cast<void>(direct);
#endif
  return uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); });
}

}  // namespace v4i::store
