// Files through POSIX calls; see file.h.
#include "lib/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/uninterrupted.h"

namespace v4i {

namespace {

std::string reason(int number) { return std::generic_category().message(number); }

class Descriptor {
 public:
  explicit Descriptor(const std::string& path)
      : fd_(uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); })) {
    if (fd_ < 0) fail(Code::kIo, "{}: cannot open: {}", path, reason(errno));
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::size_t regular_size(const Descriptor& fd, const std::string& path) {
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) fail(Code::kIo, "{}: cannot stat: {}", path, reason(errno));
  if (!S_ISREG(st.st_mode)) fail(Code::kIo, "{}: not a regular file", path);
  return static_cast<std::size_t>(st.st_size);
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const Descriptor fd(path);
  size_ = regular_size(fd, path);
  if (size_ == 0) return;
  void* p = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (p == MAP_FAILED) fail(Code::kIo, "{}: cannot map {} bytes: {}", path, size_, reason(errno));
  data_ = static_cast<const std::byte*>(p);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& o) noexcept
    : path_(std::move(o.path_)),
      data_(std::exchange(o.data_, nullptr)),
      size_(std::exchange(o.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& o) noexcept {
  std::swap(path_, o.path_);
  std::swap(data_, o.data_);
  std::swap(size_, o.size_);
  return *this;
}

void MappedFile::expect_random_access(bool on) const noexcept {
  if (data_ == nullptr) return;
  auto* p = const_cast<std::byte*>(data_);
  ::madvise(p, size_, on ? MADV_RANDOM : MADV_NORMAL);
#ifdef MADV_HUGEPAGE
  if (!on) ::madvise(p, size_, MADV_HUGEPAGE);
#endif
}

void MappedFile::prefetch(std::size_t begin, std::size_t bytes) const noexcept {
  if (begin >= size_ || bytes == 0) return;
  constexpr std::size_t kPage = 4096;  // larger pages only make the kernel refuse the hint
  const std::size_t first = begin / kPage * kPage;
  const std::size_t end = begin + std::min(bytes, size_ - begin);
  ::madvise(const_cast<std::byte*>(data_) + first, end - first, MADV_WILLNEED);
}

bool file_exists(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

bool is_directory(const std::string& path) {
  struct stat st;
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

std::string join_path(const std::string& folder, const std::string& name) {
  if (folder.empty() || folder.back() == '/') return folder + name;
  return folder + "/" + name;
}

std::string read_text_file(const std::string& path, std::size_t limit) {
  const Descriptor fd(path);
  const std::size_t size = regular_size(fd, path);
  if (size > limit) fail(Code::kFormat, "{}: {} bytes, expected at most {}", path, size, limit);
  std::string text(size, '\0');
  for (std::size_t done = 0; done < size;) {
    const ssize_t n = ::read(fd.get(), text.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(Code::kIo, "{}: cannot read: {}", path, reason(errno));
    if (n == 0) fail(Code::kIo, "{}: ended after {} of {} bytes", path, done, size);
    done += static_cast<std::size_t>(n);
  }
  return text;
}

}  // namespace v4i
