// The disk tier on disks and in folders that go wrong: an error or a miss, never wrong bytes.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "lib/base/error.h"
#include "tests/store/disk_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/child.h"

using namespace v4i;
using namespace v4i::test;
namespace fs = std::filesystem;

namespace {

// Files that fail as told.
class FaultyFiles final : public store::DiskFiles {
 public:
  std::atomic<int> create_error{0}, write_error{0}, open_error{0};
  std::atomic<bool> unreadable{false};

  int create(const std::string& path) override {
    return create_error != 0 ? -create_error : DiskFiles::create(path);
  }
  int write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
    if (write_error == 0) return DiskFiles::write(fd, bytes, offset);
    DiskFiles::write(fd, bytes.first(bytes.size() / 2), offset);  // as far as the disk came
    return -write_error;
  }
  int open_to_read(const std::string& path, bool direct) override {
    if (open_error != 0) return -open_error;
    // Nothing lies at the first addresses of a process: reads of them are EIO.
    return unreadable ? ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC)
                      : DiskFiles::open_to_read(path, direct);
  }
};

struct FaultyDisk : DiskFixture {
  FaultyDisk() { files = faults; }
  std::shared_ptr<FaultyFiles> faults = std::make_shared<FaultyFiles>();
};

// Changes one byte of a file.
void spoil(const std::string& path, std::uint64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char c = static_cast<char>(file.get() ^ 4);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(c);
  REQUIRE(file.flush());
}

constexpr std::size_t kBytes = 37384;

}  // namespace

TEST_CASE("a write that fails is reported and counted, and the store goes on", "[store][disk]") {
  FaultyDisk disk;
  {
    const auto store = disk.open();
    REQUIRE(put_block(*store, 1, kBytes) == Code::kOk);
    const struct {
      std::atomic<int>& fault;
      int error;
      Code code;
    } faults[] = {{disk.faults->write_error, ENOSPC, Code::kNoMemory},
                  {disk.faults->write_error, EDQUOT, Code::kNoMemory},
                  {disk.faults->write_error, EIO, Code::kIo}};
    std::uint64_t errors = 0;
    for (const auto& f : faults) {
      f.fault = f.error;
      CHECK(put_block(*store, 2, kBytes) == f.code);
      CHECK(store->stats().errors == ++errors);
      CHECK(get_block(*store, 2, kBytes) == Code::kState);
      CHECK(get_block(*store, 1, kBytes) == Code::kOk);
      f.fault = 0;
    }
    CHECK(put_block(*store, 2, kBytes) == Code::kOk);
  }
  const auto store = disk.open();
  CHECK(get_block(*store, 1, kBytes) == Code::kOk);
  CHECK(get_block(*store, 2, kBytes) == Code::kOk);
}

TEST_CASE("a segment that cannot be made is reported and counted", "[store][disk]") {
  FaultyDisk disk;
  const auto store = disk.open();
  for (const auto& [error, code] :
       {std::pair(ENOSPC, Code::kNoMemory), std::pair(EROFS, Code::kIo)}) {
    disk.faults->create_error = error;
    CHECK(put_block(*store, 1, kBytes) == code);
    CHECK(get_block(*store, 1, kBytes) == Code::kState);
  }
  CHECK(store->stats().errors == 2);
  disk.faults->create_error = 0;
  CHECK(put_block(*store, 1, kBytes) == Code::kOk);
  CHECK(segments_of(disk.folder).size() == 1);
}

TEST_CASE("a read that fails is an error, and the block is there when the disk is well again",
          "[store][disk]") {
  FaultyDisk disk;
  put_block(*disk.open(), 1, kBytes);
  disk.faults->unreadable = true;
  {
    const auto store = disk.open();
    CHECK(get_block(*store, 1, kBytes) == Code::kIo);
    CHECK(get_part(*store, 1, kBytes, 4096, 4096) == Code::kIo);
    CHECK(store->stats().errors == 2);
  }
  disk.faults->open_error = EACCES;
  {
    const auto store = disk.open();
    CHECK(get_block(*store, 1, kBytes) == Code::kIo);
    CHECK(store->stats().errors == 1);
    disk.faults->open_error = 0;
    disk.faults->unreadable = false;
    CHECK(get_block(*store, 1, kBytes) == Code::kOk);
  }
}

TEST_CASE("a byte that somebody changed makes its page and its block a miss", "[store][disk]") {
  DiskFixture disk;
  const auto store = disk.open();
  std::uint64_t errors = 0;
  for (const std::size_t at : {0, 1, 4095, 4096, 12345, 36863, 36864, 37383}) {
    const std::size_t page = at / 4096 * 4096, other = page == 0 ? 4096 : 0;
    for (const bool part : {false, true}) {
      REQUIRE(put_block(*store, 1, kBytes) == Code::kOk);
      spoil(segments_of(disk.folder).back(), at);
      CHECK(get_part(*store, 1, kBytes, other, 4096) == Code::kOk);
      CHECK((part ? get_part(*store, 1, kBytes, page, std::min<std::size_t>(4096, kBytes - page))
                  : get_block(*store, 1, kBytes)) == Code::kState);
      CHECK(store->stats().errors == ++errors);
      CHECK_FALSE(store->contains(make_key(1)));  // it is forgotten, and may be put again
      CHECK(segments_of(disk.folder).empty());
    }
  }
}

TEST_CASE("a segment that was truncated, exchanged or deleted is a miss", "[store][disk]") {
  DiskFixture disk;
  const auto fill = [&] {
    const auto store = disk.open(64 * 65536);  // a segment holds one block
    for (std::uint64_t n = 0; n < 3; ++n) REQUIRE(put_block(*store, n, kBytes) == Code::kOk);
    REQUIRE(segments_of(disk.folder).size() == 3);
  };
  const auto found = [&](store::BlockStore& store) {
    int good = 0;
    for (std::uint64_t n = 0; n < 3; ++n) {
      const Code got = get_block(store, n, kBytes);
      REQUIRE((got == Code::kOk || got == Code::kState));
      good += got == Code::kOk ? 1 : 0;
    }
    return good;
  };
  fill();
  for (const bool open_already : {false, true}) {
    for (const std::uintmax_t size : {0, 100, 4096, 36864}) {
      auto store = disk.open();
      if (open_already) REQUIRE(found(*store) == 3);
      fs::resize_file(segments_of(disk.folder).front(), size);
      CHECK(found(*store) == 2);
      CHECK(store->stats().errors == 1);
      store.reset();
      fill();
    }
  }
  const auto files = segments_of(disk.folder);
  fs::rename(files[0], disk.folder + "/x");
  fs::rename(files[1], files[0]);
  fs::rename(disk.folder + "/x", files[1]);
  {
    const auto store = disk.open();
    CHECK(found(*store) == 1);
    CHECK(store->stats().errors == 2);
  }
  fill();
  for (const std::string& path : segments_of(disk.folder)) fs::remove(path);
  const auto store = disk.open();
  CHECK(found(*store) == 0);
  CHECK(put_block(*store, 0, kBytes) == Code::kOk);
  CHECK(found(*store) == 1);
}

TEST_CASE("a folder that is removed while it is open costs blocks only", "[store][disk]") {
  DiskFixture disk;
  const auto store = disk.open(64 * 65536);
  for (std::uint64_t n = 0; n < 5; ++n) REQUIRE(put_block(*store, n, kBytes) == Code::kOk);
  REQUIRE(get_block(*store, 0, kBytes) == Code::kOk);
  fs::remove_all(disk.folder);
  for (std::uint64_t n = 0; n < 10; ++n) {
    CHECK(get_block(*store, n, kBytes) != Code::kInternal);
    CHECK(put_block(*store, n + 100, kBytes) != Code::kInternal);
    CHECK(get_block(*store, n + 100, kBytes) != Code::kInternal);
  }
  CHECK(store->stats().errors > 0);
}

namespace {

// A process whose disk has room for two megabytes.
int fill_disk(DiskFixture& disk) {
  disk.reads = std::make_shared<store::ReadQueue>();
  const auto store = disk.open();
  int written = 0, full = 0;
  for (std::uint64_t n = 0; n < 100; ++n) {
    const Code put = put_block(*store, n, kBytes);
    if (put != Code::kOk && put != Code::kNoMemory) return 1;
    (put == Code::kOk ? written : full) += 1;
    const Code got = get_block(*store, n, kBytes);
    if (got != (put == Code::kOk ? Code::kOk : Code::kState)) return 2;
  }
  if (written < 10 || full < 10) return 3;
  if (store->stats().errors < static_cast<std::uint64_t>(full)) return 4;
  int found = 0;
  for (std::uint64_t n = 0; n < 100; ++n)
    found += get_block(*store, n, kBytes) == Code::kOk ? 1 : 0;
  return found == written ? 0 : 5;
}

}  // namespace

TEST_CASE("a disk that is full refuses puts, and what is there stays", "[store][disk]") {
  DiskFixture disk;
  disk.reads.reset();
  constexpr int kCannot = 99;
  const int mounted = run_child([&] {  // needs root
    fs::create_directory(disk.folder);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", disk.folder.c_str(), "tmpfs", 0, "size=2m") != 0)
      return kCannot;
    return fill_disk(disk);
  });
  CHECK((mounted == 0 || mounted == kCannot));
  disk.folder += "-2";
  CHECK(run_child([&] {
          ::signal(SIGXFSZ, SIG_IGN);
          const rlimit two{2 << 20, 2 << 20};
          if (::setrlimit(RLIMIT_FSIZE, &two) != 0) return 98;
          return fill_disk(disk);
        }) == 0);
}

TEST_CASE("a slow disk delays reports, not calls", "[store][disk]") {
  using Clock = std::chrono::steady_clock;
  DiskFixture disk;
  disk.reads = std::make_shared<store::ReadQueue>(
      store::ReadQueue::Options{store::ReadQueue::Kind::kThreads, 1, 1, 1});
  std::vector<std::byte> zeros(std::size_t{256} << 20);
  store::ReadRequest before;  // keeps the only thread busy
  before.fd = ::open("/dev/zero", O_RDONLY);
  before.to = zeros.data();
  before.bytes = zeros.size();
  store::ReadRequest* const one[] = {&before};
  std::vector<std::byte> buffer(kBytes);
  {
    const auto store = disk.open();
    REQUIRE(put_block(*store, 1, kBytes) == Code::kOk);
    disk.reads->submit(one);
    const auto start = Clock::now();
    store->begin_get(make_key(1), buffer, 5);
    store::Completion done[1];
    while (!before.done() && store->poll(done, 100'000) == 0) {
    }
    CHECK(before.done());
    CHECK(wait_for(*store, 5).status == Code::kOk);
    CHECK(buffer == make_block(1, kBytes));
    CHECK(Clock::now() - start < std::chrono::seconds(20));
    disk.reads->submit(one);
    store->begin_get(make_key(1), buffer, 6);
  }  // a store that goes takes its reads along
  buffer = {};
  CHECK(disk.reads->wait(before, 20 * kSecond));
  CHECK(disk.reads->stats().cancelled == 1);
  ::close(before.fd);
}
