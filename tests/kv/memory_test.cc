// Memory: what is allocated, what is counted, and what happens when there is none.
#include <new>

#include "lib/base/error.h"
#include "lib/kv/state.h"
#include "tests/kv/allocations.h"
#include "tests/kv/fake_forward.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::test;

namespace {

// A host allocator that refuses its n-th call from now on, once.
struct Allocator {
  std::uint64_t fail_in = 0, refused = 0;
  static void* alloc(std::size_t bytes, std::size_t align, void* user) {
    auto* self = static_cast<Allocator*>(user);
    if (self->fail_in != 0 && --self->fail_in == 0) {
      ++self->refused;
      return nullptr;
    }
    return ::operator new (bytes, std::align_val_t{align}, std::nothrow);
  }
  static void free(void* p, std::size_t, std::size_t align, void*) {
    ::operator delete (p, std::align_val_t{align});
  }
};

// Long enough for blocks and links of the real sizes.
const FakeShape kReal{.ratio = 4, .far_ratio = 128, .rows_per_block = 64, .window = 16};

void touch_nothing(kv::State& state, std::int32_t token) {
  state.begin({&token, 1});
  state.commit();
}

}  // namespace

TEST_CASE("the budget counts what the states say they hold, and nothing at the end", "[kv]") {
  Budget budget;
  {
    store::BlockCache store(budget);
    const auto layout = make_layout();
    std::vector<kv::State> states;
    const auto check = [&] {
      std::uint64_t sum = 0;
      for (const kv::State& s : states) sum += s.bytes();
      sum += store.stats().blocks * store::Block::kBookkeeping;
      REQUIRE(budget.used() == sum);
      REQUIRE(budget.used(Use::kKv) == sum);
    };
    for (std::uint32_t i = 0; i < 4; ++i) {  // different tokens: nothing is shared
      states.emplace_back(layout, store, Digest{});
      for (int k = 0; k < 30; ++k) {
        run(states[i], make_tokens(1 + (i * 30 + k) % 37, 1000 * i + k));
        check();
        run(states[i], make_tokens(k + 1, k), true);
        check();
        if (k % 7 == 6) states[i].rewind(states[i].rewind_target(states[i].length() - k));
        check();
      }
    }
    states.erase(states.begin() + 1);
    check();
    CHECK(store.stats().conflicts == 0);
  }
  CHECK(budget.used() == 0);
}

TEST_CASE("a state holds what the layout says, and its list of tokens", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  const auto layout = make_layout(kReal);
  kv::State state(layout, store, Digest{});
  CHECK(state.bytes() == layout->bytes(0));
  for (std::int32_t i = 0; i < 511; ++i) {
    touch_nothing(state, i);
    REQUIRE(state.bytes() == layout->bytes(static_cast<std::uint64_t>(i) + 1) + 512 * 4 + 4 * 32);
  }
  for (std::int64_t length : {507, 506}) {  // out of the last blocks
    state.rewind(length);
    REQUIRE(state.bytes() == layout->bytes(static_cast<std::uint64_t>(length)) + 512 * 4 + 4 * 32);
  }
  state.rewind(0);
  CHECK(state.bytes() == layout->bytes(0) + 512 * 4 + 4 * 32);
}

TEST_CASE("equal prefixes are held once, and a fork costs only its open blocks", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  const auto layout = make_layout();
  const Tokens tokens = make_tokens(128);  // the last block of each table is full, but rollback
  const std::uint64_t open =               // reaches it: it is open
      4 * (2 * layout->main_row.bytes() + layout->key.bytes());
  kv::State a(layout, store, Digest{});
  run_chunks(a, tokens, 30);
  const std::uint64_t one = budget.used(), list = 512 * 4 + 4 * 32;
  kv::State b = a.fork();
  CHECK(budget.used() == one + layout->fixed_bytes + list + open);
  kv::State c(layout, store, Digest{});
  run_chunks(c, tokens, 11);  // the same prompt, computed on its own
  CHECK(budget.used() == one + 2 * (layout->fixed_bytes + list + open));
  kv::State d(layout, store, Digest{1});  // another model
  run_chunks(d, tokens, 11);
  CHECK(budget.used() == 2 * one + 2 * (layout->fixed_bytes + list + open));
  CHECK(store.stats().conflicts == 0);
}

TEST_CASE("a decode step allocates nothing between block boundaries", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  kv::State state(make_layout(kReal), store, Digest{});
  const auto counted = [&](std::int64_t until) {
    const std::uint64_t before = allocations();
    while (state.length() < until) touch_nothing(state, 7);
    return allocations() - before;
  };
  CHECK(counted(4) > 0);  // the first rows
  CHECK(counted(127) == 0);
  CHECK(counted(128) > 0);  // the first row of the far layer
  CHECK(counted(255) == 0);
  CHECK(counted(260) > 0);  // new blocks are opened
  CHECK(counted(261) > 0);  // full blocks that rollback cannot reach any more are sealed
  CHECK(counted(511) == 0);
}

TEST_CASE("when memory runs out anywhere in begin() the state is as before", "[kv]") {
  Allocator allocator;
  Budget budget(Budget::kNoCap, {Allocator::alloc, Allocator::free, &allocator});
  store::BlockCache store(budget);
  const auto layout = make_layout();
  kv::State state(layout, store, Digest{});
  const Tokens past = make_tokens(39), next = make_tokens(60, 2);
  run_chunks(state, past, 8);
  state.rewind(37);  // some full blocks will be rewritten
  const auto before = save(state);
  const std::uint64_t used = budget.used(), held = state.bytes();
  std::uint64_t n = 0;
  for (bool refused = true; refused;) {
    allocator.fail_in = ++n;
    try {
      state.begin(next);
      refused = false;
      state.abort();
    } catch (const Error& e) {
      REQUIRE(e.code() == Code::kNoMemory);
    }
    REQUIRE(save(state) == before);
    REQUIRE(budget.used() == used);
    REQUIRE(state.bytes() == held);
  }
  CHECK(n > 5);
  allocator.fail_in = 0;
  Tokens all(past.begin(), past.begin() + 37);
  all.insert(all.end(), next.begin(), next.end());
  Outputs want = reference(*layout, all);
  want.erase(want.begin(), want.begin() + 37);
  CHECK(run(state, next) == want);
}

TEST_CASE("when memory runs out in restore() or fork() nothing is lost", "[kv]") {
  Allocator allocator;
  Budget budget(Budget::kNoCap, {Allocator::alloc, Allocator::free, &allocator});
  store::BlockCache store(budget);
  kv::State state(make_layout(), store, Digest{});
  const Tokens tokens = make_tokens(100);
  run_chunks(state, tokens, 20);
  const auto bytes = save(state);
  const std::uint64_t used = budget.used();
  const auto refused_first = [&](auto&& work) {
    std::uint64_t n = 0;
    for (std::uint64_t before = ~std::uint64_t{0}; allocator.refused != before;) {
      before = allocator.refused;
      allocator.fail_in = ++n;
      try {
        work();
      } catch (const Error& e) {
        REQUIRE(e.code() == Code::kNoMemory);
      }
      REQUIRE(budget.used() == used);
      REQUIRE(save(state) == bytes);
    }
    allocator.fail_in = 0;
    return n;
  };
  CHECK(refused_first([&] { restore(state, bytes, tokens); }) > 5);
  CHECK(refused_first([&] { state.fork(); }) > 2);
}

TEST_CASE("a commit that cannot allocate bookkeeping still commits", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  const auto layout = make_layout();
  const Tokens tokens = make_tokens(96);
  const Outputs want = reference(*layout, tokens);
  for (std::uint64_t n = 1; n < 12; ++n) {
    kv::State state(layout, store, Digest{static_cast<std::uint8_t>(n)});
    Outputs got = run_chunks(state, std::span(tokens).first(63), 9);
    const std::uint64_t sealed = store.stats().blocks;
    const auto last = run(state, std::span(tokens).subspan(63, 1), false, [&] {
      fail_allocation(n);  // the token completes blocks of every table
    });
    fail_allocation(0);
    REQUIRE(state.length() == 64);
    if (n == 1) REQUIRE(store.stats().blocks == sealed);
    got.insert(got.end(), last.begin(), last.end());
    const Outputs rest = run_chunks(state, std::span(tokens).subspan(64), 5);
    got.insert(got.end(), rest.begin(), rest.end());
    REQUIRE(got == want);
    REQUIRE(store.stats().blocks == 5 + 5 + 1);  // final ones of 96 tokens; none forgotten
  }
}
