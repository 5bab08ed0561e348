// DiskStore: the suite, parts, coming back, capacity, what its folder looks like.
#include "lib/store/disk_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "lib/base/hash.h"
#include "lib/store/disk_sql.h"
#include "tests/store/disk_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::test;
namespace fs = std::filesystem;

TEST_CASE("the disk store does what every block store must", "[store][disk]") {
  for (const auto kind : {store::ReadQueue::Kind::kBest, store::ReadQueue::Kind::kThreads}) {
    DiskFixture disk;
    disk.reads = std::make_shared<store::ReadQueue>(store::ReadQueue::Options{kind});
    int made = 0;
    const auto make = [&] {
      disk.folder = disk.scratch.path() + "/" + std::to_string(++made);
      return disk.open(1 << 20);
    };
    CHECK(check_store(make, {1 << 20}) == std::vector<std::string>{});
    CHECK(disk.budget.used() == 0);
    CHECK(disk.budget.used(Place::kDisk) == 0);
  }
}

TEST_CASE("parts of blocks come as they were put, aligned or not", "[store][disk]") {
  DiskFixture disk;
  const auto store = disk.open();
  REQUIRE(store->reads_parts());
  for (const std::size_t bytes : {40960, 37384, 5, 4096}) {
    REQUIRE(put_block(*store, bytes, bytes) == Code::kOk);
    for (const std::size_t at :
         {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{8192}, bytes})
      for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{584},
                                  std::size_t{4096}, std::size_t{12288}, bytes})
        REQUIRE(get_part(*store, bytes, bytes, at, n) ==
                (at + n <= bytes ? Code::kOk : Code::kState));
  }
  CHECK(get_part(*store, 99, 10, 0, 10) == Code::kState);
  std::byte one[1];
  store->begin_get_part(make_key(5), ~std::uint64_t{0}, one, 3);
  CHECK(wait_for(*store, 3).status == Code::kState);
  CHECK(store->stats().errors == 0);
}

TEST_CASE("whole pages and whole blocks go straight into a span, others through the budget",
          "[store][disk]") {
  DiskFixture disk;
  const auto store = disk.open();
  REQUIRE(put_block(*store, 1, 40960) == Code::kOk);
  Pages pages(40960);
  const auto want = make_block(1, 40960);
  const std::uint64_t before = disk.budget.used();
  disk.budget.set_cap(before);  // no room for another buffer
  store->begin_get(make_key(1), pages.span, 1);
  REQUIRE(wait_for(*store, 1).status == Code::kOk);
  CHECK(std::equal(want.begin(), want.end(), pages.span.begin()));
  store->begin_get_part(make_key(1), 8192, pages.span.first(4096), 2);
  REQUIRE(wait_for(*store, 2).status == Code::kOk);
  CHECK(std::equal(want.begin() + 8192, want.begin() + 12288, pages.span.begin()));
  CHECK(disk.budget.peak() == before);
  CHECK(get_block(*store, 1, 40960) == Code::kOk);  // wherever it is to go
  CHECK(disk.budget.peak() == before);
  const auto part = pages.span.subspan(1, 4096);
  CHECK_THROWS_AS(store->begin_get_part(make_key(1), 8192, part, 3), Error);
  disk.budget.set_cap(Budget::kNoCap);
  store->begin_get_part(make_key(1), 8192, part, 3);
  REQUIRE(wait_for(*store, 3).status == Code::kOk);
  CHECK(std::equal(want.begin() + 8192, want.begin() + 12288, part.begin()));
}

TEST_CASE("a small budget for disks makes the coldest blocks leave, as a capacity does",
          "[store][disk]") {
  DiskFixture disk;
  disk.budget.change_cap(1 << 20, Place::kDisk);
  const auto store = disk.open();
  for (std::uint64_t n = 0; n < 100; ++n) {
    REQUIRE(put_block(*store, n, 65536) == Code::kOk);
    REQUIRE(disk.budget.used(Place::kDisk) <= 1 << 20);
  }
  CHECK(store->stats().evictions > 0);
  CHECK(store->contains(make_key(99)));
  CHECK_FALSE(store->contains(make_key(0)));
}

TEST_CASE("blocks are there for who opens the folder next", "[store][disk]") {
  DiskFixture disk;
  {
    const auto store = disk.open();
    for (std::uint64_t n = 0; n < 100; ++n) REQUIRE(put_block(*store, n, 100 * n) == Code::kOk);
    store->erase(make_key(7));
  }
  const auto store = disk.open();
  for (std::uint64_t n = 0; n < 100; ++n) {
    CHECK(store->contains(make_key(n)) == (n != 7));
    REQUIRE(get_block(*store, n, 100 * n) == (n == 7 ? Code::kState : Code::kOk));
  }
  CHECK(store->stats().blocks == 99);
  CHECK(store->stats().errors == 0);
}

TEST_CASE("a folder is private, its files stay few", "[store][disk]") {
  DiskFixture disk;
  const auto store = disk.open();
  REQUIRE(put_block(*store, 1, 10000) == Code::kOk);
  struct stat st;
  REQUIRE(::stat(disk.folder.c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0700);
  const auto all = files_of(disk.folder);
  CHECK(all.size() == 5);  // index.db, -wal, -shm, lock, a segment
  for (const std::string& path : all) {
    REQUIRE(::stat(path.c_str(), &st) == 0);
    CHECK((st.st_mode & 0777) == 0600);
  }
}

TEST_CASE("bytes of segment files stay within capacity, the coldest leave", "[store][disk]") {
  DiskFixture disk;
  const auto store = disk.open(1 << 20);
  for (std::uint64_t n = 0; n < 1000; ++n) {
    REQUIRE(put_block(*store, n, 4096) == Code::kOk);
    if (n % 20 == 0 && n > 200) {
      REQUIRE(get_block(*store, 3, 4096) == Code::kOk);  // in use all the time
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    std::uint64_t files = 0;
    for (const std::string& path : segments_of(disk.folder)) files += fs::file_size(path);
    REQUIRE(files <= 1 << 20);
    REQUIRE(store->bytes_used() == files);
    REQUIRE(disk.budget.used(Place::kDisk) == files);
  }
  CHECK(store->stats().evictions > 100);
  CHECK(store->stats().errors == 0);
  CHECK(get_block(*store, 999, 4096) == Code::kOk);
  CHECK(get_block(*store, 100, 4096) == Code::kState);
  CHECK_FALSE(store->contains(make_key(100)));
  CHECK(put_block(*store, 100, 4096) == Code::kOk);  // what has left may come back
  CHECK(get_block(*store, 100, 4096) == Code::kOk);
  store::Sql index(disk.folder + "/index.db", store::Sql::Mode::kWrite);
  CHECK(index.number("SELECT count(*) FROM blocks") < 400);  // rows of 256 blocks, and some to go
  CHECK(index.number("SELECT sum(blocks) FROM segments") <= 256);
}

TEST_CASE("the budget for disks caps a store without a capacity", "[store][disk]") {
  DiskFixture disk;
  disk.budget.set_cap(1 << 20, Place::kDisk);
  const auto store = disk.open(4 << 20);
  for (std::uint64_t n = 0; n < 600; ++n) {
    REQUIRE(put_block(*store, n, 8192) == Code::kOk);
    REQUIRE(disk.budget.used(Place::kDisk) == store->bytes_used());
  }
  CHECK(disk.budget.peak(Place::kDisk) <= 1 << 20);
  CHECK(get_block(*store, 599, 8192) == Code::kOk);
}

TEST_CASE("what is known of the index is given back to the budget", "[store][disk]") {
  DiskFixture disk;
  const auto store = disk.open();
  for (std::uint64_t n = 0; n < 300; ++n) REQUIRE(put_block(*store, n, 4096) == Code::kOk);
  const std::uint64_t known = disk.budget.used();
  CHECK(known > 300 * 40);
  CHECK(known < 300 * 200);
  disk.budget.change_cap(known / 2);
  CHECK(disk.budget.used() <= known / 2);
  Pages page(4096);
  for (std::uint64_t n = 0; n < 300; ++n) {
    store->begin_get(make_key(n), page.span, n + 1);
    REQUIRE(wait_for(*store, n + 1).status == Code::kOk);
    REQUIRE(disk.budget.used() <= known / 2);
  }
}

namespace {

// Every file with its time and a digest of its bytes; not the memory that processes share.
std::vector<std::string> look_of(const std::string& folder) {
  std::vector<std::string> all;
  for (const std::string& path : files_of(folder)) {
    if (path.ends_with("-shm")) continue;
    std::ifstream file(path, std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    all.push_back(fmt::format("{} {:x} {}", path, checksum64(bytes.data(), bytes.size()),
                              fs::last_write_time(path).time_since_epoch().count()));
  }
  return all;
}

}  // namespace

TEST_CASE("a store to read only changes no file", "[store][disk]") {
  DiskFixture disk;
  CHECK(refusal([&] { disk.open(0, true); }) ==
        disk.folder + ": there is no disk tier in this folder");
  CHECK_FALSE(fs::exists(disk.folder));
  auto writer = disk.open();
  REQUIRE(put_block(*writer, 1, 5000) == Code::kOk);
  {  // while somebody writes
    const auto before = look_of(disk.folder);
    const auto store = disk.open(0, true);
    CHECK(get_block(*store, 1, 5000) == Code::kOk);
    CHECK(get_block(*store, 2, 5000) == Code::kState);
    CHECK_THROWS_AS(store->begin_put(make_key(3), make_block(3, 10), 1), Error);
    store->erase(make_key(1));
    CHECK(store->contains(make_key(1)));
    CHECK(look_of(disk.folder) == before);
    REQUIRE(put_block(*writer, 2, 5000) == Code::kOk);
    CHECK(get_block(*store, 2, 5000) == Code::kOk);
  }
  writer.reset();
  const auto before = look_of(disk.folder);
  {  // at rest
    const auto store = disk.open(0, true);
    CHECK(get_block(*store, 1, 5000) == Code::kOk);
    CHECK(get_part(*store, 2, 5000, 4096, 100) == Code::kOk);
    CHECK(store->stats().blocks == 2);
  }
  CHECK(look_of(disk.folder) == before);
  const auto store = disk.open(0, true);
  writer = disk.open();
  REQUIRE(put_block(*writer, 3, 5000) == Code::kOk);
  CHECK(get_block(*store, 3, 5000) == Code::kOk);
}
