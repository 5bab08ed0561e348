// Slots without a forward pass: whatever is acquired, hinted, evicted and given back in between,
// what a lease hands out is what is mapped.
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "lib/experts/experts.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using Ids = std::vector<std::int32_t>;

namespace {

bool same_expert(const model::Expert& a, const model::Expert& b) {
  const auto same = [](const Weight& x, const Weight& y) {
    return std::memcmp(x.data, y.data, x.data_bytes()) == 0 &&
           std::memcmp(x.scale, y.scale, x.scale_bytes()) == 0;
  };
  return same(a.w1, b.w1) && same(a.w2, b.w2) && same(a.w3, b.w3);
}

struct Rig {
  explicit Rig(const experts::CacheOptions& options = {},
               store::ReadQueue::Kind kind = store::ReadQueue::Kind::kBest) {
    store::ReadQueue::Options queue;
    queue.kind = kind;
    queue.depth = 4;
    queue.hints = 2;
    queue.threads = 3;
    reads = std::make_shared<store::ReadQueue>(queue);
    cached = experts::cached_experts(model, budget, reads, options);
  }
  // Whether all that the lease hands out are the mapped ones; stays on each wave a little.
  bool use(int layer, const Ids& ids) {
    experts::Experts::Lease lease = cached->acquire(layer, ids);
    bool same = true;
    for (std::size_t i = 0; i < ids.size();) {
      const std::size_t end = lease.wait(i);
      for (int twice = 0; twice < 2; ++twice)
        for (std::size_t k = i; k < end; ++k)
          same =
              same && same_expert(lease[k], model->block(layer).ffn.experts[std::size_t(ids[k])]);
      i = end;
    }
    return same;
  }
  Ids some(std::size_t most) {
    Ids ids;
    for (std::int32_t e = 0; e < 8; ++e)
      if (random() % 8 < most) ids.push_back(e);
    if (ids.empty()) ids.push_back(static_cast<std::int32_t>(random() % 8));
    return ids;
  }

  Budget budget;
  std::shared_ptr<const model::Model> model = model::Model::open(test::make_tiny(3));
  std::shared_ptr<store::ReadQueue> reads;
  std::shared_ptr<experts::Experts> cached;
  std::minstd_rand random{11};
};

}  // namespace

TEST_CASE("leases hand out the mapped bytes, with any slots, hints and readers", "[experts]") {
  for (const auto kind : {store::ReadQueue::Kind::kBest, store::ReadQueue::Kind::kThreads})
    for (const std::size_t slots : {1, 2, 3, 7, 20, 64}) {
      experts::CacheOptions options;
      options.slots = slots;
      Rig rig(options, kind);
      CAPTURE(slots);
      for (int i = 0; i < 400; ++i) {
        const int layer = i % 5;
        if (rig.random() % 2 == 0)
          rig.cached->hint(static_cast<int>(rig.random() % 5), rig.some(3), rig.random() % 2 == 0);
        REQUIRE(rig.use(layer, rig.some(i % 7 == 0 ? 8 : 2)));
      }
      const experts::Stats s = rig.cached->stats();
      CHECK(s.slots <= slots);
      CHECK(s.errors == 0);
      if (slots > 2) CHECK(s.hits + s.late > 0);
    }
}

TEST_CASE("memory that others take and give back in between changes no byte", "[experts]") {
  for (const auto kind : {store::ReadQueue::Kind::kBest, store::ReadQueue::Kind::kThreads}) {
    Rig rig({}, kind);
    const std::uint64_t cost = rig.cached->stats().slot_bytes;
    rig.budget.change_cap(40 * cost);
    std::atomic<bool> stop{false};
    std::uint64_t refused = 0, taken = 0;
    std::thread others([&] {
      std::minstd_rand random(5);
      while (!stop) {
        try {
          const Buffer<std::byte> rows(rig.budget, cost * (random() % 36), Use::kKv, "rows");
          ++taken;
          if (random() % 4 == 0) rig.budget.change_cap((38 + random() % 10) * cost);
          static_cast<void>(rig.cached->stats());
        } catch (const Error&) {
          ++refused;  // every slot was in work
        }
      }
    });
    bool same = true;
    for (int i = 0; i < 1500; ++i) {
      if (i % 3 == 0) rig.cached->hint((i + 1) % 5, rig.some(4), i % 2 == 0);
      same = same && rig.use(i % 5, rig.some(3));
    }
    stop = true;
    others.join();
    CHECK(same);
    CHECK(taken > 0);
    CHECK(rig.cached->stats().errors == 0);
    CHECK(rig.budget.used() == rig.budget.used(Use::kWeights));
    CHECK(rig.budget.used() == rig.cached->stats().slots * cost);
    rig.cached.reset();
    CHECK(rig.budget.used() == 0);
  }
}

TEST_CASE("experts may go while hints are being read", "[experts]") {
  for (int i = 0; i < 50; ++i) {
    experts::CacheOptions options;
    options.slots = 30;
    Rig rig(options, i % 2 == 0 ? store::ReadQueue::Kind::kBest : store::ReadQueue::Kind::kThreads);
    for (int layer = 0; layer < 5; ++layer) rig.cached->hint(layer, rig.some(8), true);
    if (i % 3 == 0) CHECK(rig.use(2, rig.some(2)));
    rig.cached.reset();
    CHECK(rig.budget.used() == 0);
  }
}

TEST_CASE("a second lease beside the first is a broken promise", "[experts]") {
  Rig rig;
  const Ids ids = {1, 2};
  {
    const experts::Experts::Lease first = rig.cached->acquire(0, ids);
    CHECK_THROWS_AS(rig.cached->acquire(1, ids), Error);
  }
  CHECK(rig.use(1, ids));
}

TEST_CASE("a hint evicts nothing that is expected back sooner", "[experts]") {
  experts::CacheOptions options;
  options.slots = 4;
  Rig rig(options);
  const Ids two = {0, 1}, others = {4, 5, 6, 7};
  for (int i = 0; i < 40; ++i) {  // always the same
    REQUIRE(rig.use(0, two));
    REQUIRE(rig.use(1, two));
  }
  const experts::Stats before = rig.cached->stats();
  CHECK(before.hits >= 2 * 2 * 39);
  // Layer 4 comes before layers 0 and 1 come back; half of the slots are for hints.
  rig.cached->hint(4, others, true);
  CHECK(rig.cached->stats().evictions == before.evictions + 2);
  REQUIRE(rig.use(4, others));
  REQUIRE(rig.use(0, two));
  const experts::Stats then = rig.cached->stats();
  CHECK(then.hint_hits == 2);
  // What was used once goes for it, what is used by every token stays.
  rig.cached->hint(2, others, true);
  CHECK(rig.cached->stats().evictions > then.evictions);
  REQUIRE(rig.use(0, two));
  CHECK(rig.cached->stats().misses == then.misses);
}
