// Several stores as one.
#include "lib/store/chain_store.h"

#include "lib/store/host_store.h"
#include "tests/store/conformance.h"
#include "tests/support/catch.h"
#include "tests/support/held_store.h"
#include "tests/support/refusal.h"
#include "tests/support/unreliable_store.h"

using namespace v4i;
using namespace v4i::test;
using store::BlockStore;
using store::ChainStore;
using store::Completion;

namespace {

struct Chain {
  std::vector<HeldStore*> below;
  std::unique_ptr<ChainStore> store;
};

Chain chain(std::size_t n, bool works_alone = true) {
  Chain c;
  std::vector<std::unique_ptr<BlockStore>> stores;
  for (std::size_t i = 0; i < n; ++i) {
    auto s = std::make_unique<HeldStore>();
    s->works_alone = works_alone;
    s->parts = true;
    c.below.push_back(s.get());
    stores.push_back(std::move(s));
  }
  c.store = std::make_unique<ChainStore>(std::move(stores));
  return c;
}

Completion wait(BlockStore& s) {
  Completion c;
  for (int i = 0; i < 100; ++i)
    if (s.poll({&c, 1}, 1'000'000) == 1) return c;
  return {};
}

}  // namespace

TEST_CASE("a chain does what every block store must", "[store][chain]") {
  const auto three = [] { return std::move(chain(3).store); };
  CHECK(check_store(three, {}) == std::vector<std::string>{});
  Budget budget;
  const auto mixed = [&] {
    std::vector<std::unique_ptr<BlockStore>> stores;
    stores.push_back(std::make_unique<UnreliableStore>(
        1, UnreliableStore::Chances{.forget = 50, .fail = 20, .delay = 30}));
    stores.push_back(std::make_unique<store::HostStore>(budget, 1 << 20));
    return std::make_unique<ChainStore>(std::move(stores));
  };
  CHECK(check_store(mixed, {}) == std::vector<std::string>{});
}

TEST_CASE("a put goes to every store and is done when all have answered", "[store][chain]") {
  Chain c = chain(2, false);
  const auto block = make_block(1, 100);
  c.store->begin_put(make_key(1), block, 5);
  c.below[0]->work(1);
  Completion none;
  CHECK(c.store->poll({&none, 1}, 0) == 0);
  c.below[1]->work(1);
  const Completion done = wait(*c.store);
  CHECK((done.ticket == 5 && done.status == Code::kOk && done.bytes == 100));
  CHECK((c.below[0]->contains(make_key(1)) && c.below[1]->contains(make_key(1))));
}

TEST_CASE("a get asks the stores in order until one has the block", "[store][chain]") {
  Chain c = chain(3);
  const auto block = make_block(1, 100);
  c.store->begin_put(make_key(1), block, 1);
  CHECK(wait(*c.store).status == Code::kOk);
  for (std::size_t gone = 0; gone < 3; ++gone) {
    std::vector<std::byte> buffer(100);
    c.store->begin_get(make_key(1), buffer, 2);
    const Completion done = wait(*c.store);
    CHECK((done.ticket == 2 && done.status == Code::kOk));
    CHECK(buffer == block);
    for (std::size_t later = gone + 1; later < 3; ++later) CHECK(c.below[later]->begun() == 0);
    CHECK(c.store->contains(make_key(1)));
    c.below[gone]->erase(make_key(1));
  }
  std::vector<std::byte> buffer(100);
  c.store->begin_get(make_key(1), buffer, 3);
  CHECK(wait(*c.store).status == Code::kState);
  CHECK_FALSE(c.store->contains(make_key(1)));
}

TEST_CASE("a store that refuses does not keep the others from taking the block", "[store][chain]") {
  Budget budget;
  const auto block = make_block(1, 1000);
  const auto of = [&](std::uint64_t first, std::uint64_t second) {
    std::vector<std::unique_ptr<BlockStore>> stores;
    stores.push_back(std::make_unique<store::HostStore>(budget, first));
    stores.push_back(std::make_unique<store::HostStore>(budget, second));
    return std::make_unique<ChainStore>(std::move(stores));
  };
  const auto one = of(10, 10'000);
  one->begin_put(make_key(1), block, 1);
  CHECK(wait(*one).status == Code::kOk);
  std::vector<std::byte> buffer(1000);
  one->begin_get(make_key(1), buffer, 2);
  CHECK(wait(*one).status == Code::kOk);
  CHECK(one->bytes_used() == 1000);
  const auto none = of(10, 10);
  CHECK(refusal_code([&] { none->begin_put(make_key(1), block, 1); }) == Code::kNoMemory);
}
