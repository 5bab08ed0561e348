// Reads and replaces the file; see heat_file.h.
#include "lib/experts/heat_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/uninterrupted.h"

namespace v4i::experts {

namespace {

constexpr std::size_t kMost = std::size_t{64} << 20;

void write_all(const std::string& path, const std::string& bytes) {
  const auto failed = [&](const char* what) {
    fail(Code::kIo, "{}: cannot {}: {}", path, what, std::generic_category().message(errno));
  };
  const int fd = uninterrupted(
      [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); });
  if (fd < 0) failed("create");
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  const bool whole = done == bytes.size();
  const bool closed = ::close(fd) == 0;
  if (!whole || !closed) failed("write");
}

}  // namespace

std::string heat_path(const std::string& folder, const Digest& model) {
  return join_path(folder, "experts-" + to_hex(model) + ".heat");
}

void load_heat(Experts& experts, const std::string& path, const Log& log) {
  if (!file_exists(path)) return;
  std::string why = "these are not the bytes of the heat of this model's experts";
  try {
    if (experts.restore_heat(read_text_file(path, kMost))) return;
  } catch (const Error& e) {
    why = e.text();
  }
  if (log) log(fmt::format("{}: ignored, and written anew at the end: {}", path, why));
}

void save_heat(const Experts& experts, const std::string& path, const Log& log) noexcept try {
  const std::string heat = experts.heat();
  if (heat.empty()) return;
  // Two models of one process may end at once.
  static std::atomic<std::uint64_t> count{0};
  const std::string fresh = fmt::format("{}.{}-{}", path, ::getpid(), ++count);
  try {
    write_all(fresh, heat);
    if (std::rename(fresh.c_str(), path.c_str()) != 0)
      fail(Code::kIo, "{}: cannot rename: {}", fresh, std::generic_category().message(errno));
  } catch (const Error& e) {
    ::unlink(fresh.c_str());
    if (log) log(fmt::format("the heat of the experts is not kept: {}", e.text()));
  }
} catch (...) {
}

}  // namespace v4i::experts
