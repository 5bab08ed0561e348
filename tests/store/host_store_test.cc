// HostStore passes the suite; every broken store fails it.
#include "lib/store/host_store.h"

#include "tests/store/conformance.h"
#include "tests/support/catch.h"
#include "tests/support/lossy_store.h"

using namespace v4i;
using namespace v4i::test;

namespace {

constexpr std::uint64_t kCapacity = 1 << 16;

std::vector<std::string> check_with(Fault fault, bool keeps = true) {
  Budget budget;
  return check_store(
      [&] {
        return std::make_unique<LossyStore>(std::make_unique<store::HostStore>(budget, kCapacity),
                                            fault);
      },
      {kCapacity, keeps});
}

// Puts a block and takes the report.
void put(store::HostStore& store, std::uint64_t n, std::size_t bytes) {
  store.begin_put(make_key(n), make_block(n, bytes), n);
  store::Completion done[1];
  REQUIRE(store.poll(done, 0) == 1);
}

}  // namespace

TEST_CASE("the host store does what every block store must", "[store]") {
  Budget budget;
  const auto wrong = check_store(
      [&] { return std::make_unique<store::HostStore>(budget, kCapacity); }, {kCapacity});
  CHECK(wrong == std::vector<std::string>{});
  CHECK(budget.used() == 0);
}

TEST_CASE("the suite notices every kind of broken store", "[store]") {
  CHECK(check_with(Fault::kNone) == std::vector<std::string>{});
  for (int f = static_cast<int>(Fault::kLoseBlocks); f <= static_cast<int>(Fault::kNeverFull);
       ++f) {
    CAPTURE(f);
    CHECK(check_with(static_cast<Fault>(f)).size() > 0);
  }
}

TEST_CASE("a store that loses blocks is a proper cache", "[store]") {
  CHECK(check_with(Fault::kLoseBlocks, false) == std::vector<std::string>{});
}

TEST_CASE("the host store forgets the block not asked for longest", "[store]") {
  Budget budget;
  store::HostStore store(budget, 300);
  for (std::uint64_t n : {1, 2, 3}) put(store, n, 100);
  std::vector<std::byte> buffer(100);
  store.begin_get(make_key(1), buffer, 9);
  put(store, 4, 0);  // an empty block needs no room
  put(store, 5, 150);
  CHECK(store.contains(make_key(1)));
  CHECK_FALSE(store.contains(make_key(2)));
  CHECK_FALSE(store.contains(make_key(3)));
  CHECK(store.contains(make_key(4)));
  CHECK(store.evictions() == 2);
  CHECK(store.bytes_used() == 250);
}

TEST_CASE("the host store lives within the budget and makes room for what fits", "[store]") {
  Budget budget(1000);
  {
    const Buffer<std::byte> others(budget, 600, Use::kScratch, "others");
    store::HostStore store(budget, 10000);
    for (std::uint64_t n = 0; n < 20; ++n) {
      put(store, n, 100);
      REQUIRE(budget.used() == 600 + store.bytes_used());
    }
    CHECK(store.bytes_used() == 400);
    CHECK_THROWS_AS(store.begin_put(make_key(99), make_block(99, 500), 99), Error);
    CHECK(budget.used() <= 1000);
  }
  CHECK(budget.used() == 0);
}
