// The disk tier when its processes are killed, and when several of them share a folder.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include "tests/store/disk_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/child.h"

using namespace v4i;
using namespace v4i::test;
namespace fs = std::filesystem;

namespace {

std::size_t size_of(std::uint64_t n) { return 1 + n * 7919 % 20000; }

// Puts blocks from `n` on, several at a time, and tells every acknowledged one, until it is killed.
int write_for_ever(DiskFixture& disk, std::uint64_t n, int tell) {
  disk.reads = std::make_shared<store::ReadQueue>();
  const auto store = disk.open();
  std::vector<std::vector<std::byte>> blocks;
  std::vector<store::Completion> done(8);
  for (;;) {
    blocks.clear();
    for (int i = 0; i < 4; ++i, ++n) {
      blocks.push_back(make_block(n, size_of(n)));
      store->begin_put(make_key(n), blocks.back(), n);
    }
    for (std::size_t acknowledged = 0; acknowledged < 4;) {
      const std::size_t some = store->poll(done, kSecond / 1000);
      for (std::size_t i = 0; i < some; ++i) {
        if (done[i].status != Code::kOk) return 1;
        if (::write(tell, &done[i].ticket, sizeof done[i].ticket) < 0) return 2;
      }
      acknowledged += some;
    }
  }
}

using Clock = std::chrono::steady_clock;

// How long a child takes from its start to its eighth acknowledged put.
Clock::duration time_to_write(DiskFixture& disk, std::uint64_t from) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const auto start = Clock::now();
  const pid_t child = start_child([&] { return write_for_ever(disk, from, ends[1]); });
  ::close(ends[1]);
  std::uint64_t n;
  for (int i = 0; i < 8; ++i) REQUIRE(::read(ends[0], &n, sizeof n) == sizeof n);
  const auto took = Clock::now() - start;
  ::kill(child, SIGKILL);
  wait_for_child(child);
  ::close(ends[0]);
  return took;
}

// What a child that is killed after `delay` has been told about.
std::vector<std::uint64_t> written_until_killed(DiskFixture& disk, std::uint64_t from,
                                                Clock::duration delay) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = start_child([&] { return write_for_ever(disk, from, ends[1]); });
  ::close(ends[1]);
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  CHECK(wait_for_child(child) == 1000 + SIGKILL);
  std::vector<std::uint64_t> acknowledged;
  for (std::uint64_t n; ::read(ends[0], &n, sizeof n) == sizeof n;) acknowledged.push_back(n);
  ::close(ends[0]);
  return acknowledged;
}

}  // namespace

TEST_CASE("killed at 200 instants: what was acknowledged is there, the rest whole or missing",
          "[store][disk][crash]") {
  DiskFixture disk;
  disk.reads.reset();  // no thread of this process while it forks
  std::mt19937_64 random(7);
  time_to_write(disk, 1 << 20);  // the first one makes the index
  const Clock::duration usual = time_to_write(disk, 2 << 20);
  std::uint64_t from = 0, all = 0, unacknowledged = 0;
  for (int round = 0; round < 200; ++round) {
    // While it opens the folder, or while it writes.
    const auto delay = std::uniform_int_distribution<Clock::rep>(0, 3 * usual.count())(random);
    const auto told = written_until_killed(disk, from, Clock::duration(delay));
    const std::set<std::uint64_t> acknowledged(told.begin(), told.end());
    all += told.size();
    disk.reads = std::make_shared<store::ReadQueue>();
    {
      const auto store = disk.open();
      const std::uint64_t end = from + told.size() + 8;
      for (std::uint64_t n = from; n < end; ++n) {
        const Code got = get_block(*store, n, size_of(n));
        REQUIRE((got == Code::kOk || (got == Code::kState && !acknowledged.contains(n))));
        unacknowledged += got == Code::kOk && !acknowledged.contains(n) ? 1 : 0;
      }
      for (int i = 0; i < 20 && all > 0 && round % 10 == 9; ++i) {  // of earlier rounds
        const std::uint64_t n = random() % from;
        REQUIRE(get_block(*store, n, size_of(n)) != Code::kInternal);
      }
      REQUIRE(store->stats().errors == 0);
      from = end;
    }
    disk.reads.reset();
  }
  std::printf("  200 kills: %llu puts acknowledged and found, %llu found besides\n",
              static_cast<unsigned long long>(all),
              static_cast<unsigned long long>(unacknowledged));
  CHECK(all > 200);
}

namespace {

// Puts and gets blocks of a few keys at random; 0 when no byte was wrong and nothing failed but
// by capacity or by the other process being in the way.
int share_folder(DiskFixture& disk, std::uint64_t capacity, unsigned seed) {
  disk.reads = std::make_shared<store::ReadQueue>();
  std::mt19937 random(seed);
  const auto store = disk.open(capacity);
  int puts = 0, refused = 0, hits = 0;
  for (int i = 0; i < 1500; ++i) {
    const std::uint64_t n = random() % 500;
    Code code;
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        code = put_block(*store, n, size_of(n));
        ++puts;
        refused += code == Code::kOk ? 0 : 1;
        if (code != Code::kOk && code != Code::kBusy && code != Code::kNoMemory) return 1;
        break;
      case 3:
        code = get_part(*store, n, size_of(n), size_of(n) / 2, size_of(n) / 4);
        if (code != Code::kOk && code != Code::kState) return 2;
        break;
      case 4:
        if (random() % 20 == 0) store->erase(make_key(n));
        break;
      default:
        code = get_block(*store, n, size_of(n));
        hits += code == Code::kOk ? 1 : 0;
        if (code != Code::kOk && code != Code::kState) return 3;
    }
    if (store->bytes_used() > capacity) return 4;
  }
  if (hits < 100) return 5;
  return refused > puts / 4 ? 6 : 0;
}

}  // namespace

TEST_CASE("processes that share a full folder read what was put, and stay within its capacity",
          "[store][disk][crash]") {
  DiskFixture disk;
  disk.reads.reset();
  constexpr std::uint64_t kCapacity = 2 << 20;
  std::vector<pid_t> children;
  for (unsigned seed = 0; seed < 3; ++seed)
    children.push_back(start_child([&] { return share_folder(disk, kCapacity, seed); }));
  for (const pid_t child : children) CHECK(wait_for_child(child) == 0);
  std::uint64_t files = 0;
  for (const std::string& path : segments_of(disk.folder)) files += fs::file_size(path);
  CHECK(files <= kCapacity);
  CHECK(files > kCapacity / 2);
  disk.reads = std::make_shared<store::ReadQueue>();
  const auto store = disk.open(kCapacity);
  CHECK(store->bytes_used() <= files);
  int found = 0;
  for (std::uint64_t n = 0; n < 500; ++n) {
    const Code got = get_block(*store, n, size_of(n));
    REQUIRE((got == Code::kOk || got == Code::kState));
    found += got == Code::kOk ? 1 : 0;
  }
  CHECK(found > 50);
  CHECK(store->stats().errors == 0);
}

TEST_CASE("a block of one process is found by another that has the folder open",
          "[store][disk][crash]") {
  DiskFixture disk;
  disk.reads.reset();
  int there[2], done[2];
  REQUIRE((::pipe(there) == 0 && ::pipe(done) == 0));
  const pid_t child = start_child([&] {
    disk.reads = std::make_shared<store::ReadQueue>();
    const auto store = disk.open();
    if (get_block(*store, 1, 5000) != Code::kState) return 1;
    char c = 'x';
    if (::write(there[1], &c, 1) != 1 || ::read(done[0], &c, 1) != 1) return 2;
    return get_block(*store, 1, 5000) == Code::kOk && store->contains(make_key(1)) ? 0 : 3;
  });
  char c;
  REQUIRE(::read(there[0], &c, 1) == 1);
  disk.reads = std::make_shared<store::ReadQueue>();
  const auto store = disk.open();
  CHECK(put_block(*store, 1, 5000) == Code::kOk);
  REQUIRE(::write(done[1], &c, 1) == 1);
  CHECK(wait_for_child(child) == 0);
  for (const int fd : {there[0], there[1], done[0], done[1]}) ::close(fd);
}
