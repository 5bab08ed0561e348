// One store for several clients.
#include "lib/store/shared_store.h"

#include <atomic>
#include <thread>

#include "lib/store/block_cache.h"
#include "lib/store/host_store.h"
#include "tests/store/conformance.h"
#include "tests/support/catch.h"
#include "tests/support/held_store.h"
#include "tests/support/refusal.h"
#include "tests/support/unreliable_store.h"

using namespace v4i;
using namespace v4i::test;
using store::BlockStore;
using store::Completion;
using store::SharedStore;

namespace {

struct Held {
  HeldStore* below = nullptr;
  std::shared_ptr<SharedStore> shared;
};

Held held(bool works_alone = false) {
  auto below = std::make_unique<HeldStore>();
  below->works_alone = works_alone;
  HeldStore* const p = below.get();
  return {p, SharedStore::make(std::move(below))};
}

// The one completion that a poll reports, or ticket 0.
Completion next(BlockStore& s, std::uint64_t timeout_ns = 0) {
  Completion c;
  return s.poll({&c, 1}, timeout_ns) == 1 ? c : Completion{};
}

}  // namespace

TEST_CASE("a client of a shared store does what every block store must", "[store][shared]") {
  Budget budget;
  const auto make = [&] {
    return SharedStore::make(std::make_unique<store::HostStore>(budget, 1 << 16))->client();
  };
  CHECK(check_store(make, {1 << 16}) == std::vector<std::string>{});
  CHECK(budget.used() == 0);
  const auto parts = [] {
    Held h = held(true);
    h.below->parts = true;
    return h.shared->client();
  };
  CHECK(check_store(parts, {}) == std::vector<std::string>{});
}

TEST_CASE("clients with equal tickets hear of their own work only", "[store][shared]") {
  Held h = held();
  const auto a = h.shared->client(), b = h.shared->client();
  const auto block = make_block(1, 100);
  std::vector<std::byte> to_a(200), to_b(200);
  a->begin_put(make_key(1), block, 7);
  h.below->work(1);
  b->begin_get(make_key(2), to_b, 7);
  a->begin_get(make_key(1), to_a, 8);
  CHECK(next(*b).ticket == 0);  // the report is a's, whoever asks
  Completion c = next(*a);
  CHECK((c.ticket == 7 && c.status == Code::kOk));
  h.below->work(2);
  CHECK(next(*a).ticket == 8);
  c = next(*b);
  CHECK((c.ticket == 7 && c.status == Code::kState));
  CHECK(std::equal(block.begin(), block.end(), to_a.begin()));
  const SharedStore::Counts n = h.shared->counts();
  CHECK((n.hits == 1 && n.misses == 1 && n.read_bytes == 100 && n.write_bytes == 100));
  CHECK((n.read_ns > 0 && n.write_ns > 0));
}

TEST_CASE("a client may go away with work under way", "[store][shared]") {
  Held h = held();
  const auto block = make_block(1, 100);
  std::vector<std::byte> buffer(100);
  auto a = h.shared->client(), b = h.shared->client();
  a->begin_put(make_key(1), block, 1);
  a->begin_get(make_key(1), buffer, 2);
  b->begin_put(make_key(2), block, 1);
  a.reset();
  h.below->work(3);
  CHECK(next(*b).ticket == 1);
  CHECK(next(*b).ticket == 0);
  CHECK(b->contains(make_key(1)));
  // The store ends when the last one has let go of it, and only after its work is done.
  b->begin_put(make_key(3), block, 2);
  h.below->works_alone = true;
  h.shared.reset();
  b.reset();
}

TEST_CASE("a closed store begins nothing, finds nothing and reports what it had begun",
          "[store][shared]") {
  Held h = held(true);
  const auto a = h.shared->client();
  const auto block = make_block(1, 100);
  a->begin_put(make_key(1), block, 1);
  h.shared->close();
  CHECK(next(*a).ticket == 1);
  CHECK(refusal_code([&] { a->begin_put(make_key(2), block, 2); }) == Code::kState);
  CHECK_FALSE(a->contains(make_key(1)));
  CHECK(a->bytes_used() == 0);
  CHECK(next(*a, 1000).ticket == 0);
  a->erase(make_key(1));
}

TEST_CASE("a block that nobody wants any more is erased without counting as damaged",
          "[store][shared]") {
  Held h = held(true);
  const auto cache = h.shared->client(SharedStore::For::kCache);
  const auto block = make_block(1, 100);
  for (const std::uint8_t k : {1, 2}) cache->begin_put(make_key(k), block, k);
  while (next(*cache, 1000).ticket != 0) {
  }
  cache->erase(make_key(1));
  CHECK_FALSE(cache->contains(make_key(1)));
  CHECK(h.shared->counts().damaged == 0);
  cache->erase_damaged(make_key(2));
  CHECK_FALSE(cache->contains(make_key(2)));
  CHECK(h.shared->counts().damaged == 1);
}

TEST_CASE("nothing under way: the store below is not asked", "[store][shared]") {
  Held h = held(true);
  const auto a = h.shared->client();
  CHECK(next(*a, 1'000'000'000).ticket == 0);
  CHECK(h.below->polls == 0);
}

TEST_CASE("a store that calls back is refused, and does not wait for itself", "[store][shared]") {
  Held h = held(true);
  const auto a = h.shared->client();
  int refused = 0;
  std::size_t polled = 99;
  std::function<void()> back = [&] {
    refused += refusal_code([&] { a->contains(make_key(1)); }) == Code::kBusy ? 1 : 0;
    Completion c;
    polled = a->poll({&c, 1}, 0);
  };
  h.below->when_called = &back;
  const auto block = make_block(1, 100);
  a->begin_put(make_key(1), block, 1);
  CHECK(refused == 1);
  CHECK(polled == 0);
  CHECK(next(*a).ticket == 1);
}

TEST_CASE("a put does not wait for a turn that does not end, a get does", "[store][shared]") {
  Held h = held(true);
  const auto a = h.shared->client(), b = h.shared->client();
  const auto block = make_block(1, 100);
  std::atomic<bool> inside{false}, leave{false};
  std::function<void()> hold = [&] {
    inside = true;
    while (!leave) std::this_thread::yield();
  };
  h.below->when_called = &hold;
  std::thread holds([&] { a->begin_put(make_key(1), block, 1); });
  while (!inside) std::this_thread::yield();
  CHECK(refusal_code([&] { b->begin_put(make_key(2), block, 1); }) == Code::kBusy);
  Completion none;
  CHECK(b->poll({&none, 1}, 1'000'000) == 0);
  std::vector<std::byte> buffer(100);
  std::atomic<bool> begun{false};
  std::thread gets([&] {
    b->begin_get(make_key(3), buffer, 2);
    begun = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK_FALSE(begun);
  leave = true;
  holds.join();
  gets.join();
  CHECK(next(*b).status == Code::kState);
}

TEST_CASE("a store below that takes of the budget may make its own caches give back",
          "[store][shared]") {
  constexpr std::uint64_t kCap = 40'000 + 40 * store::Block::kBookkeeping;
  Budget budget(kCap);
  const auto shared = SharedStore::make(std::make_unique<store::HostStore>(budget, 1 << 20));
  store::BlockCache a(budget, shared->client()), b(budget, shared->client());
  std::vector<store::BlockRef> blocks;
  std::uint64_t n = 0;
  const auto fill = [&](store::BlockCache& cache) {
    for (int i = 0; i < 20; ++i, ++n) {
      auto slot = cache.allocate(1000);
      const auto bytes = make_block(n, 1000);
      cache.memory().upload(slot.data(), bytes.data(), bytes.size());
      blocks.push_back(cache.seal(make_key(n), std::move(slot)));
    }
    cache.flush(1'000'000);
  };
  fill(a);
  fill(b);
  CHECK(n == 40);  // more than fits twice: all was either given back or refused, and nobody hangs
  CHECK(budget.used() <= kCap);
}

TEST_CASE("clients of many threads get their own blocks from one store", "[store][shared]") {
  const auto shared = SharedStore::make(
      std::make_unique<UnreliableStore>(3, UnreliableStore::Chances{.forget = 5, .delay = 40}));
  std::atomic<int> wrong{0}, found{0};
  const auto use = [&](std::uint64_t who) {
    const auto client = shared->client();
    std::vector<std::byte> buffer(200);
    const auto wait = [&](std::uint64_t ticket) {
      for (;;) {
        Completion c;
        if (client->poll({&c, 1}, 1'000'000) == 0) continue;
        if (c.ticket != ticket) ++wrong;
        return c;
      }
    };
    for (std::uint64_t i = 1; i <= 300; ++i) {
      const std::uint64_t name = who * 1000 + i;
      const auto block = make_block(name, 200);
      while (refusal_code([&] { client->begin_put(make_key(name), block, i); }) == Code::kBusy) {
      }
      wait(i);
      client->begin_get(make_key(name), buffer, i);
      if (wait(i).status != Code::kOk) continue;
      ++found;
      if (buffer != block) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) threads.emplace_back(use, t);
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK(found > 1000);
  CHECK(shared->counts().hits == static_cast<std::uint64_t>(found));
}
