// ReadQueue: every claim with io_uring, where there is one, and with threads.
#include "lib/store/read_queue.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "lib/base/error.h"
#include "tests/support/catch.h"
#include "tests/support/scratch_folder.h"

using namespace v4i;
using namespace v4i::test;
using store::ReadQueue;
using store::ReadRequest;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

std::vector<ReadQueue::Kind> kinds() {
  std::vector<ReadQueue::Kind> kinds{ReadQueue::Kind::kThreads};
  if (ReadQueue().kind() == ReadQueue::Kind::kUring) kinds.push_back(ReadQueue::Kind::kUring);
  return kinds;
}

// A file of made-up bytes.
class File {
 public:
  explicit File(std::size_t bytes) : bytes_(bytes) {
    std::mt19937_64 random(bytes);
    for (std::byte& b : bytes_) b = static_cast<std::byte>(random());
    path_ = folder_.path() + "/file";
    write_file(path_, bytes_);
    fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(fd_ >= 0);
  }
  ~File() { ::close(fd_); }
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  bool holds(const ReadRequest& r) const {
    return std::equal(r.to, r.to + r.read, bytes_.data() + r.offset);
  }

 private:
  ScratchFolder folder_;
  std::vector<std::byte> bytes_;
  std::string path_;
  int fd_ = -1;
};

// A request with memory of its own.
struct Read : ReadRequest {
  Read(int from, std::uint64_t at, std::size_t n) : memory(n) {
    fd = from;
    offset = at;
    to = memory.data();
    bytes = n;
  }
  std::vector<std::byte> memory;
};

void submit(ReadQueue& queue, std::deque<Read>& reads, bool hint = false) {
  std::vector<ReadRequest*> all;
  for (Read& r : reads) all.push_back(&r);
  queue.submit(all, hint);
}

void submit(ReadQueue& queue, Read& read, bool hint = false) {
  ReadRequest* one[] = {&read};
  queue.submit(one, hint);
}

// So many bytes that another request can be cancelled, promoted or looked at meanwhile.
struct Slow : Read {
  explicit Slow(std::size_t megabytes) : Read(::open("/dev/zero", O_RDONLY), 0, megabytes << 20) {}
  ~Slow() { ::close(fd); }
};

}  // namespace

TEST_CASE("reads bring the bytes of their ranges, many more than fit at a time", "[store][reads]") {
  const File file(1 << 20);
  for (const auto kind : kinds()) {
    ReadQueue queue({kind, 8, 4, 3});
    CHECK(queue.kind() == kind);
    std::mt19937 random(1);
    std::deque<Read> reads;
    for (int i = 0; i < 500; ++i)
      reads.emplace_back(file.fd(), random() % (1 << 19), random() % 5000);
    submit(queue, reads);
    std::uint64_t bytes = 0;
    for (Read& r : reads) {
      REQUIRE(queue.wait(r, 10 * kSecond));
      REQUIRE(r.error == 0);
      REQUIRE(r.read == r.bytes);
      REQUIRE(file.holds(r));
      bytes += r.read;
    }
    CHECK(queue.stats().reads == 500);
    CHECK(queue.stats().bytes == bytes);
    CHECK(queue.stats().hints == 0);
    CHECK(queue.finished() == 500);
  }
}

TEST_CASE("a read behind the end of the file is short, one of a bad file an errno",
          "[store][reads]") {
  const File file(10000);
  for (const auto kind : kinds()) {
    ReadQueue queue({kind});
    Read over(file.fd(), 9000, 4096), behind(file.fd(), 20000, 10), closed(-1, 0, 10),
        none(file.fd(), 0, 0);
    for (Read* r : {&over, &behind, &closed, &none}) {
      submit(queue, *r);
      REQUIRE(queue.wait(*r, kSecond));
    }
    CHECK(over.read == 1000);
    CHECK(file.holds(over));
    CHECK(behind.read == 0);
    CHECK(closed.error == EBADF);
    CHECK(over.error + behind.error + none.error == 0);
    CHECK(queue.stats().errors == 1);
    submit(queue, closed);  // a request that is done may be used again
    REQUIRE(queue.wait(closed, kSecond));
    CHECK(queue.stats().errors == 2);
  }
}

TEST_CASE("the end of a file inside of a sector is no error of O_DIRECT", "[store][reads]") {
  const File file(10000);
  const int fd = ::open(file.path().c_str(), O_RDONLY | O_DIRECT);
  REQUIRE((fd >= 0 || errno == EINVAL));
  if (fd < 0) return;  // not on this file system
  alignas(4096) static std::byte memory[16384];
  for (const auto kind : kinds()) {
    ReadQueue queue({kind});
    Read r(fd, 0, 0);
    r.to = memory;
    r.bytes = sizeof memory;
    submit(queue, r);
    REQUIRE(queue.wait(r, kSecond));
    CHECK(r.error == 0);
    CHECK(r.read == 10000);
    CHECK(file.holds(r));
  }
  ::close(fd);
}

TEST_CASE("short reads are continued", "[store][reads]") {
  // The kernel gives such files out a page or so at a time.
  const int fd = ::open("/proc/kallsyms", O_RDONLY);
  REQUIRE(fd >= 0);
  std::vector<std::byte> once(1 << 20);
  REQUIRE(::pread(fd, once.data(), once.size(), 0) < 100'000);
  std::size_t have = 0;
  for (ssize_t n = 1; n > 0 && have < 50'000; have += static_cast<std::size_t>(n))
    n = ::pread(fd, once.data() + have, 50'000 - have, static_cast<off_t>(have));
  REQUIRE(have == 50'000);
  for (const auto kind : kinds()) {
    ReadQueue queue({kind});
    Read r(fd, 0, 50'000);
    submit(queue, r);
    REQUIRE(queue.wait(r, 10 * kSecond));
    CHECK(r.read == 50'000);
    CHECK(std::equal(r.to, r.to + r.read, once.data()));
  }
  ::close(fd);
}

TEST_CASE("demand goes before hints, and a promoted hint is demand", "[store][reads]") {
  const File file(1 << 16);
  ReadQueue queue({ReadQueue::Kind::kThreads, 1, 1, 1});
  Slow slow(256);
  submit(queue, slow);
  std::deque<Read> hints, demand;
  for (int i = 0; i < 4; ++i) hints.emplace_back(file.fd(), i * 4096, 4096);
  for (int i = 0; i < 4; ++i) demand.emplace_back(file.fd(), i * 4096, 4096);
  submit(queue, hints, true);
  submit(queue, demand);
  queue.promote(hints[3]);
  while (!hints[0].done()) queue.progress(kSecond);
  for (const Read& r : demand) CHECK(r.done());
  CHECK(hints[3].done());
  for (Read& r : hints) REQUIRE(queue.wait(r, 10 * kSecond));
  CHECK(queue.stats().hints <= 3);  // what is waited for is demand
}

TEST_CASE("hints leave room for demand", "[store][reads]") {
  const File file(1 << 16);
  for (const auto kind : kinds()) {
    ReadQueue queue({kind, 4, 1, 4});
    std::deque<Read> hints;
    for (int i = 0; i < 50; ++i) hints.emplace_back(file.fd(), 0, 4096);
    submit(queue, hints, true);
    int running = 0;
    for (const Read& r : hints) running += r.state == ReadRequest::State::kRunning ? 1 : 0;
    CHECK(running <= 1);
    while (queue.stats().reads < 50) queue.progress(kSecond);
    CHECK(queue.stats().hints == 50);
  }
}

TEST_CASE("a cancelled request is not read, one that runs is waited for", "[store][reads]") {
  const File file(1 << 16);
  ReadQueue queue({ReadQueue::Kind::kThreads, 1, 1, 1});
  Slow slow(256);
  submit(queue, slow);
  Read waiting(file.fd(), 0, 4096), hint(file.fd(), 0, 4096), never(file.fd(), 0, 4096);
  submit(queue, waiting);
  submit(queue, hint, true);
  CHECK(queue.cancel(waiting));
  CHECK(queue.cancel(hint));
  CHECK(queue.cancel(never));
  CHECK_FALSE(queue.wait(waiting, kSecond));
  CHECK(waiting.memory == std::vector<std::byte>(4096));
  CHECK(queue.stats().cancelled == 2);
  const bool gone = queue.cancel(slow);
  CHECK((gone || queue.wait(slow, 10 * kSecond)));
  CHECK((gone || !queue.cancel(slow)));
  submit(queue, waiting);
  REQUIRE(queue.wait(waiting, 10 * kSecond));
  CHECK(file.holds(waiting));
}

TEST_CASE("a queue that goes leaves nobody reading", "[store][reads]") {
  const File file(1 << 20);
  for (const auto kind : kinds())
    for (int round = 0; round < 20; ++round) {
      std::deque<Read> reads;
      {
        ReadQueue queue({kind, 4, 1, 2});
        for (int i = 0; i < 40; ++i) reads.emplace_back(file.fd(), i * 4096, 20000);
        submit(queue, reads, round % 2 == 0);
      }
      for (const Read& r : reads) {
        const auto state = r.state.load();
        REQUIRE((state == ReadRequest::State::kIdle || state == ReadRequest::State::kDone));
        REQUIRE((state == ReadRequest::State::kIdle) == (r.read == 0));
        REQUIRE(file.holds(r));
      }
    }
}

TEST_CASE("waits end in time", "[store][reads]") {
  using Clock = std::chrono::steady_clock;
  for (const auto kind : kinds()) {
    ReadQueue queue({kind, 1, 1, 1});
    const auto start = Clock::now();
    queue.progress(10 * kSecond);  // nothing is under way
    CHECK(Clock::now() - start < std::chrono::seconds(5));
    Slow slow(128);
    Read behind(slow.fd, 0, 1 << 20);
    submit(queue, slow);
    submit(queue, behind);
    const std::uint64_t seen = queue.finished();
    REQUIRE(queue.wait(behind, 10 * kSecond));
    const auto later = Clock::now();
    queue.progress(10 * kSecond, seen);  // something has become done since
    CHECK(Clock::now() - later < std::chrono::seconds(5));
  }
}

TEST_CASE("threads that share a queue all get their bytes", "[store][reads]") {
  const File file(1 << 20);
  for (const auto kind : kinds()) {
    ReadQueue queue({kind, 8, 2, 3});
    std::atomic<int> good{0};
    const auto client = [&](unsigned seed) {
      std::mt19937 random(seed);
      for (int round = 0; round < 60; ++round) {
        std::deque<Read> reads;
        for (int i = 0; i < 8; ++i)
          reads.emplace_back(file.fd(), random() % 900'000, random() % 9000);
        submit(queue, reads, round % 3 == 0);
        for (Read& r : reads) {
          if (random() % 4 == 0 && queue.cancel(r)) {
            ++good;
            continue;
          }
          while (random() % 2 == 0 && !r.done()) {
            const std::uint64_t seen = queue.finished();
            if (!r.done()) queue.progress(100'000, seen);
          }
          good += queue.wait(r, 20 * kSecond) && r.read == r.bytes && file.holds(r) ? 1 : 0;
        }
      }
    };
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) threads.emplace_back(client, t);
    for (std::thread& t : threads) t.join();
    CHECK(good == 4 * 60 * 8);
  }
}

TEST_CASE("reads outlive the thread that began them", "[store][reads]") {
  const File file(1 << 20);
  for (const auto kind : kinds()) {
    ReadQueue queue({kind, 16, 4, 2});
    std::deque<Read> reads;
    for (int i = 0; i < 100; ++i) reads.emplace_back(file.fd(), i * 5000, 5000);
    std::thread([&] { submit(queue, reads); }).join();
    for (Read& r : reads) {
      REQUIRE(queue.wait(r, 10 * kSecond));
      REQUIRE(r.error == 0);
      REQUIRE((r.read == r.bytes && file.holds(r)));
    }
  }
}
