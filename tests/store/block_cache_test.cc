// BlockCache: one copy per content, private copies for anything doubtful.
#include "lib/store/block_cache.h"

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <thread>
#include <vector>

#include "lib/store/chain_store.h"
#include "tests/store/conformance.h"
#include "tests/support/catch.h"
#include "tests/support/held_store.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::test;

namespace {

// What a block of 256 bytes costs.
constexpr std::uint64_t kCost = 256 + store::Block::kBookkeeping;

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
  CHECK(budget.used() == kCost);
  a.reset();
  CHECK(budget.used() == kCost);
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
  CHECK(c->shape.bytes == 255);
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
  CHECK(budget.used() == held[0].size() * kCost);
}

namespace {

// Answers a get `delay` later than the one before it; never when the delay is negative.
class SlowStore final : public store::BlockStore {
 public:
  explicit SlowStore(std::chrono::milliseconds delay) : delay_(delay) {}
  void begin_put(const store::BlockKey& key, std::span<const std::byte> bytes,
                 std::uint64_t ticket) override {
    held_[key.bytes].assign(bytes.begin(), bytes.end());
    due_.push_back({{ticket, Code::kOk, bytes.size()}, {}});
  }
  void begin_get(const store::BlockKey& key, std::span<std::byte> bytes,
                 std::uint64_t ticket) override {
    if (room_for_ == 0) fail(Code::kNoMemory, "no room to read into");
    if (room_for_ > 0) --room_for_;
    const auto& from = held_.at(key.bytes);
    std::copy(from.begin(), from.end(), bytes.begin());
    last_ = std::max(last_, Clock::now()) + delay_;
    const bool never = delay_ < std::chrono::milliseconds(0);
    due_.push_back({{ticket, Code::kOk, from.size()}, never ? Clock::time_point::max() : last_});
  }
  std::size_t poll(std::span<store::Completion> out, std::uint64_t timeout_ns) override {
    std::size_t n = 0;
    for (std::size_t i = 0; i < due_.size() && n < out.size();) {
      if (due_[i].when > Clock::now()) {
        ++i;
        continue;
      }
      out[n++] = due_[i].completion;
      due_.erase(due_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (n > 0 && room_for_ == 0) room_for_ = static_cast<int>(n);
    if (n == 0) std::this_thread::sleep_for(std::chrono::nanoseconds(timeout_ns));
    return n;
  }
  bool contains(const store::BlockKey& key) override { return held_.contains(key.bytes); }
  void erase(const store::BlockKey& key) override { held_.erase(key.bytes); }
  std::uint64_t bytes_used() const override { return 0; }
  void give_room_for(int gets) { room_for_ = gets; }  // until poll() reports something
  void answer_all() {
    for (Due& d : due_) d.when = {};
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Due {
    store::Completion completion;
    Clock::time_point when;
  };
  std::chrono::milliseconds delay_;
  int room_for_ = -1;
  Clock::time_point last_{};
  std::map<std::array<std::uint8_t, 32>, std::vector<std::byte>> held_;
  std::vector<Due> due_;
};

std::vector<store::BlockRef> sealed(store::BlockCache& cache, std::uint64_t count) {
  std::vector<store::BlockRef> blocks;
  for (std::uint64_t n = 0; n < count; ++n)
    blocks.push_back(cache.seal(make_key(n), filled(cache, n)));
  cache.flush(1'000'000'000);
  return blocks;
}

}  // namespace

TEST_CASE("a chain whose second store has no room to read into has lost nothing", "[store]") {
  for (const std::size_t row_bytes : {0, 32}) {
    Budget budget;
    auto first = std::make_unique<HeldStore>();
    auto second = std::make_unique<SlowStore>(std::chrono::milliseconds(0));
    first->works_alone = true;
    HeldStore& forgets = *first;
    SlowStore& below = *second;
    std::vector<std::unique_ptr<store::BlockStore>> stores;
    stores.push_back(std::move(first));
    stores.push_back(std::move(second));
    store::BlockCache cache(budget, std::make_shared<store::ChainStore>(std::move(stores)));
    std::vector<store::BlockRef> blocks;
    for (std::uint64_t n = 0; n < 3; ++n)
      blocks.push_back(cache.seal(make_key(n), filled(cache, n), row_bytes));
    cache.flush(1'000'000'000);
    REQUIRE(cache.spill(~std::uint64_t{0}) > 0);
    for (std::uint64_t n = 0; n < 3; ++n) forgets.erase(make_key(n));
    below.give_room_for(0);
    if (row_bytes == 0) {
      CHECK(refusal_code([&] { cache.bring(blocks); }) == Code::kNoMemory);
      CHECK(cache.stats().lost == 0);
      below.give_room_for(-1);
      cache.bring(blocks);
      CHECK(cache.stats().fetched == 3);
      continue;
    }
    cache.make_room_for_rows(1);
    const auto bring = [&] {
      const store::BlockCache::Stay stay(cache);
      cache.rows().begin_wave();
      REQUIRE(store::RowCache::Taking(cache.rows()).take(*blocks[0]->rows, 1) ==
              store::RowCache::Taken::kEmpty);  // also after the refusal
      store::RowMiss miss{&blocks[0], 1};
      return cache.bring_rows({&miss, 1}, nullptr);
    };
    CHECK(refusal_code([&] { bring(); }) == Code::kNoMemory);
    CHECK(cache.stats().lost == 0);
    below.give_room_for(-1);
    CHECK(bring());
  }
}

TEST_CASE("a block that two sessions name is fetched once", "[store]") {
  Budget budget;
  store::BlockCache cache(budget, std::make_shared<SlowStore>(std::chrono::milliseconds(1)));
  auto blocks = sealed(cache, 3);
  REQUIRE(cache.spill(~std::uint64_t{0}) == 3 * 256);
  for (std::size_t i = 0; i < 3; ++i) blocks.push_back(store::BlockRef(blocks[i]));
  cache.bring(blocks);
  CHECK(cache.stats().fetched == 3);
  CHECK(budget.used() == 3 * kCost);
}

TEST_CASE("a store without room to read into has lost nothing: fewer are fetched at a time",
          "[store]") {
  Budget budget;
  const auto below = std::make_shared<SlowStore>(std::chrono::milliseconds(0));
  store::BlockCache cache(budget, below);
  const auto blocks = sealed(cache, 10);
  REQUIRE(cache.spill(~std::uint64_t{0}) == 10 * 256);
  below->give_room_for(0);
  CHECK_THROWS_AS(cache.bring(blocks), Error);
  CHECK(cache.stats().lost == 0);
  below->give_room_for(3);
  cache.bring(blocks);
  CHECK(cache.stats().fetched == 10);
  CHECK(cache.stats().lost == 0);
}

TEST_CASE("at a full budget blocks are stored as others leave, and nothing is stuck", "[store]") {
  Budget budget(12 * 256 + 300 + 100 * store::Block::kBookkeeping);
  store::BlockCache cache(budget, std::make_shared<SlowStore>(std::chrono::milliseconds(0)));
  std::vector<store::BlockRef> blocks;
  for (std::uint64_t n = 0; n < 100; ++n)
    blocks.push_back(cache.seal(make_key(n), filled(cache, n)));
  CHECK(cache.stats().evicted >= 88);
  CHECK(budget.peak() <= budget.cap());
  for (std::uint64_t n = 0; n < 100; ++n) {
    std::vector<std::byte> got(256);
    REQUIRE(cache.read(blocks[n], 0, 256, got.data()));
    REQUIRE(got == make_block(n, 256));
  }
}

TEST_CASE("blocks leave between two layers of somebody else", "[store]") {
  Budget budget;
  store::BlockCache cache(budget, std::make_shared<SlowStore>(std::chrono::milliseconds(0)));
  const auto blocks = sealed(cache, 8);
  budget.set_cap(budget.used());
  std::atomic<bool> stop{false};
  std::thread computing([&] {
    while (!stop) {
      const store::BlockCache::Stay layer(cache);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  int granted = 0;
  for (std::uint64_t n = 100; n < 120; ++n) granted += filled(cache, n).empty() ? 0 : 1;
  stop = true;
  computing.join();
  CHECK(granted == 20);
}

TEST_CASE("a cancel ends a wait for the store, also behind somebody else's", "[store][cancel]") {
  Budget budget;
  const auto store = std::make_shared<SlowStore>(std::chrono::milliseconds(-1));
  store::BlockCache cache(budget, store);
  const auto blocks = sealed(cache, 2);
  cache.spill(~std::uint64_t{0});
  CancelFlag cancel, other;
  Code ended = Code::kOk;
  std::thread behind([&] {
    try {
      cache.bring({&blocks[0], 1}, &other);
    } catch (const Error& e) {
      ended = e.code();
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  cancel.signal();
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(cache.bring({&blocks[1], 1}, &cancel), Error);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  other.signal();
  behind.join();
  CHECK(ended == Code::kCancelled);
  CHECK_FALSE(blocks[0]->lost);
  store->answer_all();
  cache.flush(1'000'000);
  CHECK(budget.used() == blocks.size() * store::Block::kBookkeeping);
}

TEST_CASE("what the store has is known also while somebody else waits for the store", "[store]") {
  Budget budget;
  const auto store = std::make_shared<SlowStore>(std::chrono::milliseconds(300));
  const auto one = make_block(1, 256 + sizeof(std::uint64_t));
  store->begin_put(make_key(77), one, 1);
  store::BlockCache cache(budget, store);
  const auto blocks = sealed(cache, 1);
  cache.spill(~std::uint64_t{0});
  std::thread behind([&] { cache.bring(blocks); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(cache.known(make_key(77), {256, 0}, cache.memory()) != nullptr);
  behind.join();
  CHECK(cache.stats().fetched == 1);
}
