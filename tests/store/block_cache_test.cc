// BlockCache: one copy per content, private copies for anything doubtful.
#include "lib/store/block_cache.h"

#include <thread>

#include "tests/store/conformance.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::test;

namespace {

store::Slot filled(store::BlockCache& stack, std::uint64_t n, std::size_t bytes = 256) {
  store::Slot buffer = stack.allocate(bytes);
  const auto block = make_block(n, bytes);
  std::copy(block.begin(), block.end(), buffer.data());
  return buffer;
}

}  // namespace

TEST_CASE("equal blocks are held once, for as long as somebody holds them", "[store]") {
  Budget budget;
  store::BlockCache stack(budget);
  store::BlockRef a = stack.seal(make_key(1), filled(stack, 1));
  store::BlockRef b = stack.seal(make_key(1), filled(stack, 1));
  CHECK(a == b);
  CHECK(stack.find(make_key(1)) == a);
  CHECK(stack.find(make_key(2)) == nullptr);
  CHECK(stack.stats().blocks == 1);
  CHECK(stack.stats().shared == 1);
  CHECK(budget.used() == 256);
  a.reset();
  CHECK(budget.used() == 256);
  b.reset();
  CHECK(budget.used() == 0);
  CHECK(stack.stats().blocks == 0);
  CHECK(stack.find(make_key(1)) == nullptr);
}

TEST_CASE("other bytes under a known key are kept private and counted", "[store]") {
  Budget budget;
  store::BlockCache stack(budget);
  const store::BlockRef a = stack.seal(make_key(1), filled(stack, 1));
  const store::BlockRef b = stack.seal(make_key(1), filled(stack, 2));
  const store::BlockRef c = stack.seal(make_key(1), filled(stack, 1, 255));
  const auto want = make_block(2, 256);
  CHECK(std::equal(want.begin(), want.end(), b->slot.data()));
  CHECK(c->bytes == 255);
  CHECK(stack.find(make_key(1)) == a);
  CHECK(stack.stats().conflicts == 2);
  CHECK(stack.stats().shared == 0);
}

TEST_CASE("the table of keys does not grow with blocks that are gone", "[store]") {
  Budget budget;
  store::BlockCache stack(budget);
  const store::BlockRef kept = stack.seal(make_key(0), filled(stack, 0, 8));
  for (std::uint64_t n = 1; n < 10000; ++n) {
    stack.seal(make_key(n), filled(stack, n, 8));
    REQUIRE(stack.entries() <= 1024);
  }
  CHECK(stack.find(make_key(0)) == kept);
  CHECK(stack.stats().blocks == 1);
}

TEST_CASE("threads that seal the same blocks share them", "[store]") {
  Budget budget;
  store::BlockCache stack(budget);
  constexpr std::uint64_t kBlocks = 500;
  std::vector<store::BlockRef> held[4];
  std::vector<std::thread> threads;
  for (auto& mine : held)
    threads.emplace_back([&stack, &mine] {
      for (std::uint64_t n = 0; n < kBlocks; ++n) {
        mine.push_back(stack.seal(make_key(n), filled(stack, n)));
        if (n % 3 == 0) mine.pop_back();
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(stack.stats().conflicts == 0);
  for (std::size_t i = 0; i < held[0].size(); ++i)
    for (const auto& other : held) REQUIRE(other[i] == held[0][i]);
  CHECK(budget.used() == held[0].size() * 256);
}
