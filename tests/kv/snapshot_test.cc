// Snapshots: deep rewinds recompute little, within bounds of number and memory.
#include "lib/kv/state.h"
#include "lib/store/host_store.h"
#include "tests/kv/fake_forward.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::test;

namespace {

const FakeShape kShape{.ratio = 64, .far_ratio = 128, .rows_per_block = 2, .window = 4};

}  // namespace

TEST_CASE("a deep rewind starts from a snapshot near by and continues exactly", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  const auto layout = make_layout(kShape);
  const Tokens tokens = make_tokens(3000);
  kv::State grown(layout, store, Digest{});
  run_chunks(grown, tokens, 100);
  for (std::int64_t to : {100, 511, 600, 1024, 1600, 2222, 2900, 2999}) {
    kv::State state = grown.fork();
    const std::int64_t target = state.rewind_target(to);
    REQUIRE(target <= to);
    REQUIRE(target >= to - 600);
    state.rewind(target);
    Tokens all(tokens.begin(), tokens.begin() + target);
    const Tokens other = make_tokens(30, static_cast<std::uint32_t>(to));
    all.insert(all.end(), other.begin(), other.end());
    Outputs want = reference(*layout, all);
    want.erase(want.begin(), want.begin() + target);
    REQUIRE(run_chunks(state, other, 7) == want);
  }
  CHECK(store.stats().conflicts == 0);
}

TEST_CASE("behind a prompt of any length another sequence begins at most 640 tokens before its end",
          "[kv]") {
  const auto layout = make_layout(kShape);
  for (const std::size_t chunk : {100, 128, 512})
    for (const std::size_t length : {2000, 2047, 2048, 2049, 2086, 2122, 2174, 2175, 2176, 2560}) {
      Budget budget;
      const auto below = std::make_shared<store::HostStore>(budget, 1 << 24);
      const Tokens tokens = make_tokens(length, static_cast<std::uint32_t>(length));
      store::BlockCache first(budget, below);
      {
        kv::State state(layout, first, Digest{});
        run_chunks(state, tokens, chunk);
        first.flush(1'000'000'000);
      }
      store::BlockCache second(budget, below);
      kv::State state(layout, second, Digest{});
      CAPTURE(chunk, length);
      REQUIRE(state.take_up(tokens) + 640 > static_cast<std::int64_t>(length));
    }
}

TEST_CASE("a snapshot itself can be taken back by the rollback margin", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  kv::State state(make_layout(kShape), store, Digest{});
  run_chunks(state, make_tokens(600), 1);
  CHECK(state.rewind_target(512) == 512);
  CHECK(state.rewind_target(507) == 507);
  CHECK(state.rewind_target(506) == 0);
  CHECK(state.rewind_target(594) == 512);
  CHECK(state.rewind_target(595) == 595);
  state.rewind(508);
  CHECK(state.rewind_target(507) == 507);
  CHECK(state.rewind_target(506) == 0);
}

TEST_CASE("a snapshot of a future that was cut off is not used", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  const auto layout = make_layout(kShape);
  const Tokens old = make_tokens(1200), other = make_tokens(800, 2), last = make_tokens(20, 3);
  kv::State state(layout, store, Digest{});
  run_chunks(state, old, 64);  // snapshots at 512 and 1024
  state.rewind(512);
  run(state, other);  // one chunk, past 1024, with its snapshot at 1312
  REQUIRE(state.rewind_target(1200) == 512);
  state.rewind(512);
  Tokens all(old.begin(), old.begin() + 512);
  all.insert(all.end(), last.begin(), last.end());
  Outputs want = reference(*layout, all);
  want.erase(want.begin(), want.begin() + 512);
  CHECK(run_chunks(state, last, 3) == want);
}

TEST_CASE("chunks longer than the snapshot distance do not pile up snapshots", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  // Windows so large that the token list is less than one snapshot.
  const auto layout = make_layout({.ratio = 64, .far_ratio = 4096, .window = 1 << 15});
  kv::State state(layout, store, Digest{});
  const Tokens chunk = make_tokens(5120);
  for (int i = 0; i < 40; ++i) {
    state.begin(chunk);
    state.commit();
    const auto length = static_cast<std::uint64_t>(state.length());
    REQUIRE((state.bytes() - layout->bytes(length)) / layout->fixed_bytes <= 8);
  }
  CHECK(state.bytes() > layout->bytes(204800) + 4 * layout->fixed_bytes);
}

TEST_CASE("there are never more than eight snapshots, evenly spread", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  const auto layout = make_layout(kShape);
  kv::State state(layout, store, Digest{});
  const Tokens chunk = make_tokens(250);
  for (int i = 0; i < 400; ++i) {
    run(state, std::span(chunk).first(1));
    state.begin(chunk);
    state.commit();
    const std::uint64_t history = state.bytes() - layout->bytes(state.length());
    REQUIRE(history <
            8 * layout->fixed_bytes + 5 * 2 * static_cast<std::uint64_t>(state.length()) + 5 * 512);
  }
  std::int64_t worst = 0;
  for (std::int64_t to = 0; to < state.length(); to += 100)
    worst = std::max(worst, to - state.rewind_target(to));
  CHECK(worst <= state.length() / 3);
}

TEST_CASE("snapshots are taken only while half of the budget is free", "[kv]") {
  const auto layout = make_layout(kShape);
  const auto reach = [&](std::uint64_t others) {
    Budget budget(1 << 20);
    const Buffer<std::byte> held(budget, others, Use::kScratch, "somebody else");
    store::BlockCache store(budget);
    kv::State state(layout, store, Digest{});
    run_chunks(state, make_tokens(600), 8);
    return state.rewind_target(590);
  };
  CHECK(reach(0) == 512);
  CHECK(reach(1 << 19) == 0);
}

TEST_CASE("snapshots are given back when a chunk needs the memory", "[kv]") {
  Budget budget;
  store::BlockCache store(budget);
  const auto layout = make_layout(kShape);
  const Tokens tokens = make_tokens(900);
  kv::State state(layout, store, Digest{});
  Outputs got = run_chunks(state, std::span(tokens).first(600), 4);
  REQUIRE(state.rewind_target(590) == 512);
  budget.set_cap(budget.used());
  const Outputs rest = run_chunks(state, std::span(tokens).subspan(600), 4);
  got.insert(got.end(), rest.begin(), rest.end());
  CHECK(state.rewind_target(590) == 0);
  CHECK(budget.used() <= budget.cap());
  CHECK(got == reference(*layout, tokens));
}
