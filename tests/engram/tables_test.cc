// Whatever way rows come, they are the rows of the shards.
#include "lib/engram/tables.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>
#include <thread>

#include "tests/engram/fixture.h"
#include "tests/support/catch.h"
#include "tests/support/count_new.h"
#include "tests/support/refusal.h"

using namespace v4i;
using engram::Options;
using engram::Part;
using engram::Tables;
using store::ReadQueue;

namespace {

std::shared_ptr<ReadQueue> queue(ReadQueue::Kind kind = ReadQueue::Kind::kBest) {
  ReadQueue::Options o;
  o.kind = kind;
  o.threads = 3;
  return std::make_shared<ReadQueue>(o);
}

std::unique_ptr<Tables> make(const test::EngramTables& model, Budget& budget, const Options& o,
                             ReadQueue::Kind kind = ReadQueue::Kind::kBest) {
  return std::make_unique<Tables>(model.source(), model.classes(), queue(kind), budget, o);
}

Options small_cache(std::uint64_t bytes) {
  Options o;
  o.cache_bytes = bytes;
  o.slab_bytes = 16384;
  return o;
}

// Pages of 4096 bytes that hold these rows of both tensors.
std::size_t pages_of(const test::EngramTables& model, const std::vector<std::int32_t>& windows) {
  std::size_t pages = 0;
  for (std::size_t layer = 0; layer < 2; ++layer)
    for (const Part part : {Part::kCodes, Part::kScales}) {
      std::set<std::uint64_t> seen;
      const engram::RowForm form(model.config().engram.head_dim);
      for (const std::int32_t row : model.rows_of(layer, windows)) {
        const std::uint64_t at = model.offset(layer, part, row);
        seen.insert(at / 4096);
        seen.insert((at + form.bytes(part) - 1) / 4096);
      }
      pages += seen.size();
    }
  return pages;
}

}  // namespace

TEST_CASE("rows are those of the shards, whatever way they come", "[engram]") {
  for (const auto& shape : {test::tiny_tables(), test::wide_tables()}) {
    const test::EngramTables model(shape);
    for (const auto kind : {ReadQueue::Kind::kBest, ReadQueue::Kind::kThreads})
      for (int way = 0; way < 6; ++way) {
        Budget budget;
        Options o = small_cache(way % 3 == 0 ? 0 : way % 3 == 1 ? 40000 : 1u << 30);
        o.direct = way % 2 == 1;
        o.synchronous = way == 4;
        o.resident = way == 5;
        const auto tables = make(model, budget, o, kind);
        CAPTURE(shape.engram.head_dim, way);
        CHECK(tables->columns() == (shape.engram.max_ngram - 1) * shape.engram.heads);
        CHECK(tables->width() == tables->columns() * shape.engram.head_dim);
        for (std::uint32_t i = 0; i < 12; ++i) {
          const std::size_t tokens = i == 5 ? 512 : i == 6 ? 0 : i % 4 == 3 ? 60 : i + 1;
          REQUIRE(test::run_equals(*tables, model, model.windows(tokens, i % 8)));
        }
        const engram::Stats s = tables->stats();
        CHECK(s.lookups > 0);
        CHECK(s.hits <= s.lookups);
        CHECK((s.reads == 0) == o.resident);
        CHECK(budget.used() == budget.used(Use::kWeights));
        CHECK(budget.used() > 0);
      }
  }
}

TEST_CASE("all memory is counted, and given back at the end", "[engram]") {
  const test::EngramTables model(test::tiny_tables());
  Budget budget;
  {
    const auto tables = make(model, budget, small_cache(1 << 20));
    const std::uint64_t fixed = budget.used();
    CHECK(fixed > 512 * 6 * 2 * 66);
    CHECK(test::run_equals(*tables, model, model.windows(300, 1)));
    CHECK(budget.used() == fixed + tables->stats().cache_bytes);
    CHECK(tables->stats().cache_bytes > 0);
    CHECK(tables->stats().cache_bytes <= 1 << 20);
  }
  CHECK(budget.used() == 0);
  Budget little(100000);
  CHECK_THAT(test::refusal([&] { make(model, little, {}); }),
             Catch::Contains("of Engram tables") && Catch::Contains("of the budget of 100000"));
  CHECK(little.used() == 0);
}

TEST_CASE("rows that come again are not read again, and rows of one page are read together",
          "[engram]") {
  const test::EngramTables model(test::wide_tables());
  Budget budget;
  const auto tables = make(model, budget, small_cache(64 << 20));
  const auto windows = model.windows(20, 3);
  std::set<std::pair<std::size_t, std::int32_t>> different;
  for (std::size_t layer = 0; layer < 2; ++layer)
    for (const std::int32_t row : model.rows_of(layer, windows)) different.insert({layer, row});

  CHECK(test::run_equals(*tables, model, windows));
  const engram::Stats once = tables->stats();
  CHECK(once.lookups == 20 * 24 * 2);
  CHECK(once.hits == once.lookups - different.size());
  CHECK(once.reads <= pages_of(model, windows));
  CHECK(once.bytes_read >= once.reads * 4096 - 2 * 4096);
  CHECK(once.waits <= 2);

  CHECK(test::run_equals(*tables, model, windows));
  const engram::Stats twice = tables->stats();
  CHECK(twice.reads == once.reads);
  CHECK(twice.hits == once.hits + twice.lookups / 2);
  CHECK(twice.waits == once.waits);
}

TEST_CASE("tokens that are expected are in memory when they come", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  for (const auto kind : {ReadQueue::Kind::kBest, ReadQueue::Kind::kThreads}) {
    Budget budget;
    const auto tables = make(model, budget, small_cache(64 << 20), kind);
    const auto now = model.windows(3, 1), later = model.windows(40, 2);
    tables->begin(now);
    tables->expect(later);
    REQUIRE(test::rest_equals(*tables, model, now));
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (std::uint64_t before = ~0ull; before != tables->stats().reads;) {
      before = tables->stats().reads;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      REQUIRE(std::chrono::steady_clock::now() < until);
    }
    const engram::Stats expected = tables->stats();
    REQUIRE(test::run_equals(*tables, model, later));
    const engram::Stats used = tables->stats();
    CHECK(used.reads == expected.reads);
    CHECK(used.hits == expected.hits + 40 * 24 * 2);
    CHECK(used.waits == expected.waits);
  }
}

TEST_CASE("a run may begin while what was expected is under way", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  for (std::uint64_t cache : {0u, 30000u, 64u << 20}) {
    Budget budget;
    const auto tables = make(model, budget, small_cache(cache));
    for (std::uint32_t i = 0; i < 60; ++i) {
      const auto windows = model.windows(1 + i * 7 % 50, i / 2);
      tables->expect(windows);
      if (i % 3 == 0) tables->expect(model.windows(100, i + 1000));
      tables->begin(windows);
      tables->expect(windows);
      if (i % 5 == 0) {
        tables->abandon();
        continue;
      }
      CAPTURE(cache, i);
      REQUIRE(test::rest_equals(*tables, model, windows));
    }
  }
}

TEST_CASE("the cache gives memory back when others need it, and grows again", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  Budget budget;
  const auto tables = make(model, budget, small_cache(64 << 20));
  const std::uint64_t fixed = budget.used();
  for (std::uint32_t i = 0; i < 5; ++i)
    REQUIRE(test::run_equals(*tables, model, model.windows(200, i)));
  const std::uint64_t grown = budget.used();
  REQUIRE(grown > fixed + (1 << 20));
  budget.change_cap(grown);
  {
    const Buffer<std::byte> other(budget, (grown - fixed) / 2, Use::kKv, "rows");
    CHECK(tables->stats().cache_bytes <= (grown - fixed) / 2);
    CHECK(tables->stats().cache_bytes > 0);
    for (std::uint32_t i = 0; i < 5; ++i)
      REQUIRE(test::run_equals(*tables, model, model.windows(200, i)));
    CHECK(budget.used() <= grown);
    const Buffer<std::byte> more(budget, (grown - fixed) / 2, Use::kKv, "rows");
    CHECK(tables->stats().cache_bytes == 0);
    REQUIRE(test::run_equals(*tables, model, model.windows(200, 1)));
  }
  for (std::uint32_t i = 0; i < 5; ++i)
    REQUIRE(test::run_equals(*tables, model, model.windows(200, i)));
  CHECK(tables->stats().cache_bytes > (1 << 20));
}

TEST_CASE("a cancelled wait ends, and the next run is right", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  Budget budget;
  const auto tables = make(model, budget, small_cache(1 << 20));
  CancelFlag cancel;
  cancel.signal();
  tables->begin(model.windows(400, 1));
  CHECK(test::refusal_code([&] { tables->wait(0, &cancel); }) == Code::kCancelled);
  tables->abandon();
  CHECK(test::run_equals(*tables, model, model.windows(400, 2)));
}

TEST_CASE("a run of one token allocates nothing", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  Budget budget;
  Options o = small_cache(1 << 20);
  const auto tables = make(model, budget, o, ReadQueue::Kind::kBest);
  std::vector<std::vector<std::int32_t>> windows;
  for (std::uint32_t i = 0; i < 64; ++i) windows.push_back(model.windows(1, i));
  std::vector<float> out(static_cast<std::size_t>(tables->width()));
  const auto run = [&](std::uint32_t i) {
    tables->begin(windows[i]);
    tables->expect(windows[(i + 1) % 64]);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      tables->wait(layer, nullptr);
      tables->rows(layer, 0, 1, out.data());
    }
  };
  for (std::uint32_t i = 0; i < 64; ++i) run(i);
  const std::size_t before = test::count_new();
  for (std::uint32_t i = 0; i < 64; ++i) run(i);
  CHECK(test::count_new() == before);
}

TEST_CASE("more tokens than there is room for are a broken promise", "[engram]") {
  const test::EngramTables model(test::tiny_tables());
  Budget budget;
  Options o;
  o.max_tokens = 8;
  const auto tables = make(model, budget, o);
  CHECK(test::refusal_code([&] { tables->begin(model.windows(9, 1)); }) == Code::kInternal);
  CHECK(test::run_equals(*tables, model, model.windows(8, 1)));
  CHECK(test::refusal_code([&] { tables->rows(0, 7, 2, nullptr); }) == Code::kInternal);
}

TEST_CASE("rows beyond 4 GiB of a shard are read where they are", "[engram]") {
  // One column of 20 million rows, 256 wide: 5.1 GB of codes, of which a few are no holes.
  test::TableShape shape = test::wide_tables();
  model::EngramConfig& c = shape.engram;
  c.layers = {0};
  c.max_ngram = 2;
  c.heads = 1;
  c.bucket_rows = 20'000'000;
  c.rows = {static_cast<std::int64_t>(engram::next_prime(20'000'000))};
  const test::TempDir dir;
  test::write_sparse_table(dir.file("model.safetensors"), c.rows[0], c.head_dim);
  const auto checkpoint = loader::Checkpoint::open(dir.path());
  model::Config config;
  config.vocab = shape.vocab;
  config.engram = c;
  const std::vector<Weight> tables = test::bind_tables(*checkpoint, config);

  std::vector<std::int32_t> classes;
  for (std::int32_t i = 0; i < 40; ++i) classes.push_back(i * 8);
  std::vector<std::int32_t> windows(classes.size() * 2), rows(classes.size());
  engram::fill_windows(classes, 0, 2, windows.data());
  const engram::Hash hash(c, 2, "config.json");
  const int fd = ::open(dir.file("model.safetensors").c_str(), O_RDWR);
  std::size_t far = 0;
  for (std::size_t t = 0; t < rows.size(); ++t) {
    hash.rows(0, windows.data() + t * 2, &rows[t]);
    const auto at = [&](const void* data, std::int64_t width) {
      return static_cast<off_t>(checkpoint->range_of(data, 1).begin) + rows[t] * width;
    };
    far += at(tables[0].data, 256) > off_t{1} << 32;
    const std::string codes(256, static_cast<char>(0x38 + t)), scales(8, 127);
    REQUIRE(::pwrite(fd, codes.data(), 256, at(tables[0].data, 256)) == 256);
    REQUIRE(::pwrite(fd, scales.data(), 8, at(tables[0].scale, 8)) == 8);
  }
  ::close(fd);
  REQUIRE(far > 3);

  engram::TableSource source;
  source.checkpoint = checkpoint.get();
  source.config = &config;
  source.tables = {&tables[0]};
  std::vector<std::int32_t> map(512);
  for (std::size_t i = 0; i < map.size(); ++i) map[i] = static_cast<std::int32_t>(i % 333);
  for (const bool direct : {false, true}) {
    Budget budget;
    Options o;
    o.direct = direct;
    Tables t(source, engram::ClassMap(map, config, "map"), queue(), budget, o);
    t.begin(windows);
    t.wait(0, nullptr);
    std::vector<float> out(rows.size() * 256);
    t.rows(0, 0, static_cast<std::int64_t>(rows.size()), out.data());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::uint32_t code = 0x38 + static_cast<std::uint32_t>(i);
      const float want =
          std::ldexp(8.0f + static_cast<float>(code & 7), static_cast<int>(code >> 3) - 10);
      REQUIRE(std::all_of(out.begin() + long(i) * 256, out.begin() + long(i + 1) * 256,
                          [&](float v) { return v == want; }));
    }
  }
}
