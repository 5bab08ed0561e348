// Reads that fail, files that end, codes that are no numbers: a sentence each, never other rows,
// and the tables go on.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "tests/engram/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using engram::Part;
using engram::Tables;
using store::ReadQueue;

namespace {

// Descriptors of shards, and what they read: a broken one gives EIO for every read, since nothing
// is mapped at low addresses.
class Shards {
 public:
  engram::TableFiles::Open open() {
    return [this](const std::string& path) {
      return opened_[path] = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    };
  }
  void replace(const std::string& path, const std::string& by) {
    const int other = ::open(by.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(other >= 0);
    REQUIRE(::dup2(other, opened_.at(path)) >= 0);
    ::close(other);
  }

 private:
  std::map<std::string, int> opened_;
};

struct Rig {
  explicit Rig(ReadQueue::Kind kind, std::uint64_t cache = 1 << 20) {
    engram::Options o;
    o.cache_bytes = cache;
    o.slab_bytes = 8192;
    o.open_shard = shards.open();
    ReadQueue::Options q;
    q.kind = kind;
    tables = std::make_unique<Tables>(model.source(), model.classes(),
                                      std::make_shared<ReadQueue>(q), budget, o);
  }
  // What the run is refused with: code and sentence.
  std::pair<Code, std::string> refused(const std::vector<std::int32_t>& windows) {
    std::pair<Code, std::string> out{Code::kOk, ""};
    tables->begin(windows);
    for (std::size_t layer = 0; layer < 2; ++layer) try {
        tables->wait(layer, nullptr);
      } catch (const Error& e) {
        if (out.first == Code::kOk) out = {e.code(), e.text()};
      }
    tables->abandon();
    return out;
  }
  // The first row of the window's token in `layer`.
  std::int32_t row(std::size_t layer, const std::vector<std::int32_t>& windows) const {
    return model.rows_of(layer, windows).front();
  }

  test::EngramTables model{test::tiny_tables()};
  Budget budget;
  Shards shards;
  std::unique_ptr<Tables> tables;
};

}  // namespace

TEST_CASE("a read that fails names shard, tensor and row, and the next run is right", "[engram]") {
  for (const auto kind : {ReadQueue::Kind::kBest, ReadQueue::Kind::kThreads})
    for (const auto& [layer, part, tensor] :
         {std::tuple{0, Part::kCodes, "layers.1.engram.embed.weight"},
          std::tuple{0, Part::kScales, "layers.1.engram.embed.scale"},
          std::tuple{1, Part::kScales, "layers.4.engram.embed.scale"}}) {
      Rig rig(kind);
      const auto windows = rig.model.windows(1, 5);
      const std::string path = rig.model.shard(std::size_t(layer), part);
      for (int again = 0; again < 3; ++again) {
        rig.shards.replace(path, "/proc/self/mem");
        const auto [code, said] = rig.refused(rig.model.windows(1, 5 + std::uint32_t(again)));
        CHECK(code == Code::kIo);
        CHECK_THAT(said,
                   Catch::Contains(path + ": cannot read row ") &&
                       Catch::Contains(std::string(" of tensor ") + tensor + ": Input/output"));
        rig.shards.replace(path, path);
        REQUIRE(test::run_equals(*rig.tables, rig.model, rig.model.windows(30, 9)));
        REQUIRE(test::run_equals(*rig.tables, rig.model,
                                 rig.model.windows(1, 5 + std::uint32_t(again))));
        // Read anew in the next round.
        rig.budget.change_cap(rig.budget.used() - rig.tables->stats().cache_bytes);
        rig.budget.change_cap(Budget::kNoCap);
        REQUIRE(rig.tables->stats().cache_bytes == 0);
      }
    }
}

TEST_CASE("a read of a hint that fails is read again", "[engram]") {
  Rig rig(ReadQueue::Kind::kBest);
  const auto windows = rig.model.windows(20, 5);
  const std::string path = rig.model.shard(0, Part::kScales);
  rig.shards.replace(path, "/proc/self/mem");
  rig.tables->expect(windows);
  for (int i = 0; i < 100; ++i) {  // until all have failed
    rig.tables->begin({});
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  rig.shards.replace(path, path);
  CHECK(test::run_equals(*rig.tables, rig.model, windows));
}

TEST_CASE("a shard that ends early is named with the row that it lacks", "[engram]") {
  for (const auto kind : {ReadQueue::Kind::kBest, ReadQueue::Kind::kThreads}) {
    Rig rig(kind);
    const auto windows = rig.model.windows(1, 5);
    const std::string path = rig.model.shard(0, Part::kCodes);
    const std::int32_t row = rig.row(0, windows);
    const test::TempDir dir;
    std::filesystem::copy_file(path, dir.file("short"));
    for (const std::uint64_t keep : {0, 1, 63}) {  // of the row's 64 bytes
      std::filesystem::resize_file(dir.file("short"),
                                   rig.model.offset(0, Part::kCodes, row) + keep);
      rig.shards.replace(path, dir.file("short"));
      const auto [code, said] = rig.refused(windows);
      CHECK(code == Code::kIo);
      CHECK_THAT(said, Catch::Contains(path + ": ends before byte ") &&
                           Catch::Contains(" of tensor layers.1.engram.embed.weight ends; it was "
                                           "cut off after it was opened"));
      rig.shards.replace(path, path);
      REQUIRE(test::run_equals(*rig.tables, rig.model, windows));
      rig.budget.change_cap(rig.budget.used() - rig.tables->stats().cache_bytes);
      rig.budget.change_cap(Budget::kNoCap);
    }
  }
}

TEST_CASE("a code that is no number is refused with shard, tensor, row and column, every way",
          "[engram]") {
  struct Case {
    Part part;
    std::size_t at;
    std::uint8_t byte;
    const char* said;
  };
  for (const Case& c :
       {Case{Part::kCodes, 0, 0x7f, "weight: row {} has 0x7f at column 0, which is not a number"},
        Case{Part::kCodes, 63, 0xff, "weight: row {} has 0xff at column 63, which is not a number"},
        Case{Part::kScales, 1, 0xff, "scale: row {} has 0xff at column 1, which is not a number"},
        Case{Part::kScales, 0, 0xfe,
             "scale: row {} has 0xfe at column 0, a scale that makes a value larger than float32 "
             "holds"}})
    for (int way = 0; way < 4; ++way) {
      const test::EngramTables model(test::tiny_tables());
      const auto windows = model.windows(3, 5);
      const std::int32_t row = model.rows_of(1, windows)[7];
      model.overwrite(1, Part::kCodes, row, 0, 0x7e);
      model.overwrite(1, c.part, row, c.at, c.byte);
      Budget budget;
      engram::Options o;
      o.direct = way == 1;
      o.resident = way == 2;
      o.cache_bytes = way == 3 ? 0 : 1 << 20;
      Tables tables(model.source(), model.classes(), std::make_shared<ReadQueue>(), budget, o);
      for (int again = 0; again < 2; ++again) {
        if (again == 1) tables.expect(windows);
        tables.begin(windows);
        tables.wait(0, nullptr);
        std::string said = c.said;
        said.replace(said.find("{}"), 2, std::to_string(row));
        CHECK(test::refusal([&] { tables.wait(1, nullptr); }) ==
              model.shard(1, c.part) + ": tensor layers.4.engram.embed." + said);
        CHECK(test::refusal_code([&] { tables.wait(1, nullptr); }) == Code::kFormat);
      }
      const auto others = model.windows(1, 77);
      const auto rows = model.rows_of(1, others);
      REQUIRE(std::find(rows.begin(), rows.end(), row) == rows.end());
      CHECK(test::run_equals(tables, model, others));
    }
}

TEST_CASE("tables that are missing or of another shape are refused when they are opened",
          "[engram]") {
  test::EngramTables model(test::tiny_tables());
  const auto refused = [&] {
    Budget budget;
    const std::string said = test::refusal([&] {
      Tables(model.source(), model.classes(), std::make_shared<ReadQueue>(), budget, {});
    });
    CHECK(budget.used() == 0);
    return said;
  };
  const Weight good = model.table(1);
  CHECK(refused() == "accepted");
  const std::string has_none =
      "layer 4 has no Engram table (layers.4.engram.embed), expected 1552 x 64 fp8";
  model.table(1) = Weight{};
  CHECK_THAT(refused(), Catch::Contains(has_none));
  model.table(1) = good;
  model.table(1).scale = nullptr;
  CHECK_THAT(refused(), Catch::Contains(has_none));
  model.table(1) = good;
  model.table(1).rows = 1551;
  CHECK_THAT(refused(), Catch::Contains("the Engram table of layer 4 is 1551 x 64 with a scale for "
                                        "1 x 32, expected 1552 x 64 with a scale for 1 x 32"));
  model.table(1) = good;
  model.table(1).block_rows = 32;
  CHECK_THAT(refused(), Catch::Contains("with a scale for 32 x 32, expected"));
}

TEST_CASE("a shard that is gone or has changed is named when it is opened", "[engram]") {
  test::EngramTables model(test::tiny_tables());
  const std::string path = model.shard(1, Part::kScales);
  const auto refused = [&] {
    Budget budget;
    return test::refusal([&] {
      Tables(model.source(), model.classes(), std::make_shared<ReadQueue>(), budget, {});
    });
  };
  const auto bytes = std::filesystem::file_size(path);
  test::write_file(path + ".new", test::read_file(path).substr(0, 1000));
  std::filesystem::rename(path + ".new", path);
  CHECK(refused() == path + ": has 1000 bytes, and had " + std::to_string(bytes) +
                         " when it was mapped a moment ago");
  std::filesystem::remove(path);
  CHECK_THAT(refused(), Catch::Contains(path + ": cannot open: No such file"));
}
