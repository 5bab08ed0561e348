// What the disk tier finds in a folder when it opens it: other versions, damage, leftovers.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lib/base/error.h"
#include "lib/store/disk_sql.h"
#include "tests/store/disk_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::test;
namespace fs = std::filesystem;

namespace {

void run_sql(const std::string& path, const char* statements) {
  store::Sql(path, store::Sql::Mode::kWrite).run(statements);
}

void overwrite(const std::string& path, std::uint64_t at, std::size_t bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  const auto noise = make_block(at, bytes);
  file.write(reinterpret_cast<const char*>(noise.data()), static_cast<std::streamsize>(bytes));
  REQUIRE(file.flush());
}

}  // namespace

TEST_CASE("a folder is made with those above it, and one that cannot be is refused with its name",
          "[store][disk]") {
  DiskFixture disk;
  disk.folder = disk.scratch.path() + "/a/b//c/";
  CHECK(put_block(*disk.open(), 1, 100) == Code::kOk);
  disk.folder = disk.scratch.path() + "/file";
  write_file(disk.folder, {});
  const std::string above = disk.folder;
  disk.folder += "/below";
  CHECK(refusal([&] { disk.open(); }) == above + ": not a folder, as that of a disk tier must be");
  disk.folder = above;
  CHECK(refusal([&] { disk.open(); }) ==
        disk.folder + ": not a folder, as that of a disk tier must be");
}

TEST_CASE("a folder of another version, or of another program, is left alone", "[store][disk]") {
  DiskFixture disk;
  put_block(*disk.open(), 1, 100);
  const std::string index = disk.folder + "/index.db";
  run_sql(index, "PRAGMA user_version = 2");
  for (const bool read_only : {false, true}) {
    CHECK(refusal_code([&] { disk.open(0, read_only); }) == Code::kFormat);
    CHECK(refusal([&] { disk.open(0, read_only); }) ==
          index +
              ": the folder has version 2 of the disk tier, this library uses version 1: give "
              "another folder, or delete this one");
  }
  run_sql(index, "PRAGMA user_version = 1");
  CHECK(get_block(*disk.open(), 1, 100) == Code::kOk);
  run_sql(index, "PRAGMA application_id = 1");
  CHECK(refusal([&] { disk.open(); }) ==
        index + ": not the index of a disk tier (application id 0x1)");
  run_sql(index, "PRAGMA application_id = 0x5634494b");
  CHECK(get_block(*disk.open(), 1, 100) == Code::kOk);
}

TEST_CASE("a damaged index is kept aside and begun anew, by who is alone in the folder",
          "[store][disk]") {
  DiskFixture disk;
  const std::string index = disk.folder + "/index.db";
  {
    const auto store = disk.open();
    for (std::uint64_t n = 0; n < 50; ++n) REQUIRE(put_block(*store, n, 5000) == Code::kOk);
  }
  overwrite(index, 0, 4096);
  CHECK(refusal_code([&] { disk.open(0, true); }) == Code::kFormat);
  const auto store = disk.open();
  CHECK(fs::exists(disk.folder + "/index.damaged"));
  CHECK(segments_of(disk.folder).empty());
  CHECK(get_block(*store, 1, 5000) == Code::kState);
  CHECK(put_block(*store, 1, 5000) == Code::kOk);
  CHECK(get_block(*store, 1, 5000) == Code::kOk);
  overwrite(index, 0, 4096);
  fs::remove(index + "-wal");
  const std::string said = refusal([&] { disk.open(); });
  CHECK(said.find("other processes have the folder open") != std::string::npos);
}

TEST_CASE("an index that turns out to be damaged is an error for now, and begun anew next time",
          "[store][disk]") {
  DiskFixture disk;
  const std::string index = disk.folder + "/index.db";
  {
    const auto store = disk.open();
    for (std::uint64_t n = 0; n < 800; ++n) REQUIRE(put_block(*store, n, 100) == Code::kOk);
  }
  const std::uint64_t size = fs::file_size(index);
  REQUIRE(size > 20 * 4096);
  for (std::uint64_t page = 5; page < size / 4096; page += 2) overwrite(index, page * 4096, 4096);
  {
    const auto store = disk.open();
    int bad = 0;
    for (std::uint64_t n = 0; n < 500; ++n) {
      const Code got = get_block(*store, n, 100);
      REQUIRE((got == Code::kOk || got == Code::kState || got == Code::kIo));
      bad += got == Code::kIo ? 1 : 0;
    }
    CHECK(bad > 0);
    CHECK(store->stats().errors >= static_cast<std::uint64_t>(bad));
    for (std::uint64_t n = 1000; n < 1100; ++n) CHECK(put_block(*store, n, 100) != Code::kInternal);
  }
  const auto store = disk.open();
  CHECK(store->stats().blocks == 0);
  CHECK(put_block(*store, 1, 100) == Code::kOk);
  CHECK_FALSE(fs::exists(disk.folder + "/damaged"));
}

TEST_CASE("every damaged byte of an index is an error, a miss or nothing", "[store][disk]") {
  DiskFixture disk;
  {
    const auto store = disk.open();
    for (std::uint64_t n = 0; n < 60; ++n) REQUIRE(put_block(*store, n, 100 * n) == Code::kOk);
  }
  const std::string good = disk.folder;
  const std::uint64_t size = fs::file_size(good + "/index.db");
  int opened = 0;
  for (int round = 0; round < 60; ++round) {
    disk.folder = good + "-" + std::to_string(round);
    fs::copy(good, disk.folder);
    for (std::uint64_t k = 0; k < 1 + round % 7u; ++k)
      overwrite(disk.folder + "/index.db", (round * 7919u + k * 104729u) % size, 1 + round % 3u);
    try {
      const auto store = disk.open();
      ++opened;
      for (std::uint64_t n = 0; n < 60; ++n)
        REQUIRE(get_block(*store, n, 100 * n) != Code::kInternal);
      REQUIRE(put_block(*store, 3, 300) != Code::kInternal);
    } catch (const Error& e) {
      INFO(e.text());
      REQUIRE(e.code() == Code::kFormat);  // of another version, say
    }
    fs::remove_all(disk.folder);
  }
  CHECK(opened > 40);
}

TEST_CASE("segments of the dead go at open, those of the living and files of others stay",
          "[store][disk]") {
  DiskFixture disk;
  put_block(*disk.open(), 1, 5000);
  const std::string kept = segments_of(disk.folder).front();
  const std::string dead = disk.folder + "/seg-00000000000000aa.v4i";
  const std::string living = disk.folder + "/seg-00000000000000bb.v4i";
  const std::string other = disk.folder + "/seg-notes.v4i";
  for (const std::string& path : {dead, living, other}) write_file(path, make_block(1, 100));
  const int fd = ::open(living.c_str(), O_RDWR);
  REQUIRE(::flock(fd, LOCK_EX) == 0);
  const auto store = disk.open();
  CHECK_FALSE(fs::exists(dead));
  CHECK(fs::exists(living));
  CHECK(fs::exists(other));
  CHECK(fs::exists(kept));
  CHECK(get_block(*store, 1, 5000) == Code::kOk);
  ::close(fd);
}
