// Runs, hints, statistics and a budget that moves, all at the same time.
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "tests/engram/fixture.h"
#include "tests/support/catch.h"

using namespace v4i;
using engram::Tables;
using store::ReadQueue;

namespace {

// Takes memory, moves the cap and looks, until told to stop.
void press(Budget& budget, Tables& tables, std::uint64_t fixed, const std::atomic<bool>& stop) {
  std::minstd_rand random(5);
  while (!stop) {
    try {
      const Buffer<std::byte> other(budget, 1 + random() % 300000, Use::kKv, "rows");
      if (random() % 4 == 0) budget.change_cap(fixed + 300000 + random() % 400000);
    } catch (const Error&) {
    }
    static_cast<void>(tables.stats());
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

}  // namespace

TEST_CASE("rows stay right while others hint, take memory and look", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  for (const auto kind : {ReadQueue::Kind::kBest, ReadQueue::Kind::kThreads}) {
    Budget budget;
    engram::Options o;
    o.cache_bytes = 1 << 20;
    o.slab_bytes = 32768;
    ReadQueue::Options q;
    q.kind = kind;
    q.threads = 3;
    Tables tables(model.source(), model.classes(), std::make_shared<ReadQueue>(q), budget, o);
    const std::uint64_t fixed = budget.used();
    std::atomic<bool> stop{false};
    std::thread presser([&] { press(budget, tables, fixed, stop); });
    std::thread hinter([&] {
      for (std::uint32_t i = 0; !stop; ++i) {
        tables.expect(model.windows(1 + i % 60, i % 40));
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
    bool equal = true;
    for (std::uint32_t i = 0; i < 60; ++i) {
      const auto windows = model.windows(i % 10 == 9 ? 512 : 1 + i % 20, i % 40);
      if (i % 7 == 6) {
        tables.begin(windows);
        tables.abandon();
      } else {
        equal = equal && test::run_equals(tables, model, windows);
      }
    }
    stop = true;
    presser.join();
    hinter.join();
    CHECK(equal);
    CHECK(tables.stats().cache_bytes <= 1 << 20);
    CHECK(budget.used() == fixed + tables.stats().cache_bytes);
  }
}

TEST_CASE("pieces of a layer may be taken by several threads", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  Budget budget;
  Tables tables(model.source(), model.classes(), std::make_shared<ReadQueue>(), budget, {});
  const auto windows = model.windows(200, 1);
  tables.begin(windows);
  for (std::size_t layer = 0; layer < 2; ++layer) {
    tables.wait(layer, nullptr);
    std::vector<float> got(static_cast<std::size_t>(200 * tables.width()));
    std::vector<std::thread> threads;
    for (std::int64_t t = 0; t < 4; ++t)
      threads.emplace_back(
          [&, t] { tables.rows(layer, t * 50, 50, got.data() + t * 50 * tables.width()); });
    for (std::thread& t : threads) t.join();
    CHECK(got == model.wanted(layer, windows));
  }
}

TEST_CASE("tables may go while reads are under way", "[engram]") {
  const test::EngramTables model(test::wide_tables());
  for (std::uint32_t i = 0; i < 40; ++i) {
    Budget budget;
    const auto reads = std::make_shared<ReadQueue>();
    {
      Tables tables(model.source(), model.classes(), reads, budget, {});
      tables.begin(model.windows(i % 4 == 0 ? 512 : 3, i));
      tables.expect(model.windows(100, i + 1));
    }
    CHECK(budget.used() == 0);
  }
}
