// State against a model that keeps everything: chunks, aborts, rewinds, forks.
#include "lib/kv/state.h"

#include <random>

#include "lib/base/error.h"
#include "tests/kv/fake_forward.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::test;

namespace {

struct Rig {
  Budget budget;
  store::BlockCache store{budget};
  std::shared_ptr<const kv::Layout> layout;
  explicit Rig(const FakeShape& shape = {}) : layout(make_layout(shape)) {}
  kv::State state() { return kv::State(layout, store, Digest{}); }
};

std::span<const std::int32_t> part(const Tokens& t, std::size_t from, std::size_t to) {
  return std::span(t).subspan(from, to - from);
}

const FakeShape kShapes[] = {
    {},
    {.ratio = 3, .far_ratio = 7, .rows_per_block = 5, .window = 6, .rollback = 3},
    {.ratio = 4, .far_ratio = 32, .rows_per_block = 32, .window = 16, .rollback = 0},
    {.ratio = 1, .far_ratio = 2, .rows_per_block = 1, .window = 1, .rollback = 9, .packed = false},
};

}  // namespace

TEST_CASE("outputs do not depend on the chunks the tokens came in", "[kv]") {
  for (const FakeShape& shape : kShapes) {
    Rig rig(shape);
    const Tokens tokens = make_tokens(200);
    const Outputs want = reference(*rig.layout, tokens);
    for (std::size_t chunk : {1u, 2u, 3u, 7u, 64u, 200u}) {
      kv::State state = rig.state();
      REQUIRE(run_chunks(state, tokens, chunk) == want);
      REQUIRE(state.length() == 200);
    }
    CHECK(rig.store.stats().conflicts == 0);
  }
}

TEST_CASE("after a rewind from and to any position the future equals a fresh run", "[kv]") {
  for (const FakeShape& shape : kShapes) {
    Rig rig(shape);
    const Tokens tokens = make_tokens(70);
    for (std::size_t from = 1; from <= 70; from += 3) {
      kv::State grown = rig.state();
      run_chunks(grown, part(tokens, 0, from), 4);
      for (std::size_t to = 0; to <= from; ++to) {
        kv::State state = grown.fork();
        const auto target = state.rewind_target(static_cast<std::int64_t>(to));
        REQUIRE(target <= static_cast<std::int64_t>(to));
        if (from - to <= static_cast<std::size_t>(shape.rollback))
          REQUIRE(target == static_cast<std::int64_t>(to));
        state.rewind(target);
        REQUIRE(state.length() == target);
        Tokens future(tokens.begin(), tokens.begin() + target);
        const Tokens other = make_tokens(40, static_cast<std::uint32_t>(from * 100 + to));
        future.insert(future.end(), other.begin(), other.end());
        Outputs want = reference(*rig.layout, future);
        want.erase(want.begin(), want.begin() + target);
        REQUIRE(run_chunks(state, other, 3) == want);
      }
    }
  }
}

TEST_CASE("rewinding past the margin again and again never reads an overwritten slot", "[kv]") {
  Rig rig;
  kv::State state = rig.state();
  Tokens now = make_tokens(30);
  run_chunks(state, now, 30);
  for (std::uint32_t i = 0; i < 60; ++i) {  // net backwards: 3 back, 1 forward
    const std::int64_t target = state.rewind_target(state.length() - 3);
    state.rewind(target);
    now.resize(static_cast<std::size_t>(target));
    const Tokens next = make_tokens(1, i + 5);
    now.push_back(next[0]);
    REQUIRE(run(state, next) == Outputs{reference(*rig.layout, now).back()});
  }
}

TEST_CASE("rewind refuses a length that rewind_target did not offer", "[kv]") {
  Rig rig;
  kv::State state = rig.state();
  run_chunks(state, make_tokens(50), 50);
  CHECK(state.rewind_target(20) == 0);
  CHECK(state.rewind_target(-1) == 0);
  CHECK(state.rewind_target(45) == 45);
  CHECK(state.rewind_target(1000) == 50);
  CHECK_THROWS_AS(state.rewind(20), Error);
  CHECK_THROWS_AS(state.rewind(51), Error);
  CHECK(state.length() == 50);
}

TEST_CASE("an aborted long chunk leaves every byte as it was", "[kv]") {
  for (const FakeShape& shape : kShapes) {
    Rig rig(shape);
    const Tokens tokens = make_tokens(90);
    kv::State state = rig.state();
    run_chunks(state, part(tokens, 0, 41), 5);
    const auto before = save(state);
    const std::uint64_t held = state.bytes();
    for (std::size_t n = shape.rollback + 1; n <= 49; ++n) {
      run(state, make_tokens(n, static_cast<std::uint32_t>(n)), true);
      REQUIRE(state.length() == 41);
      REQUIRE(save(state) == before);
      REQUIRE(state.bytes() == held);
    }
  }
}

TEST_CASE("an aborted short chunk leaves everything readable as it was", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(120);
  const Outputs want = reference(*rig.layout, tokens);
  kv::State state = rig.state();
  run(state, make_tokens(1), true);  // takes the first piece of the token list
  for (std::size_t at = 0; at < 120; ++at) {
    const std::uint64_t before = visible_bytes(state), held = state.bytes();
    for (std::size_t n = 1; n <= 5; ++n) {
      run(state, make_tokens(n, 9), true);
      REQUIRE(visible_bytes(state) == before);
      REQUIRE(state.bytes() == held);
    }
    REQUIRE(run(state, part(tokens, at, at + 1)) == Outputs{want[at]});
  }
}

TEST_CASE("a fork and its origin do not see each other's future", "[kv]") {
  Rig rig;
  const Tokens past = make_tokens(61), left = make_tokens(60, 2), right = make_tokens(60, 3);
  for (std::size_t at = 0; at <= 61; at += 4) {
    kv::State a = rig.state();
    if (at > 0) run_chunks(a, part(past, 0, at), 6);
    kv::State b = a.fork();
    const auto check = [&](kv::State& state, const Tokens& future) {
      Tokens all(past.begin(), past.begin() + static_cast<std::ptrdiff_t>(at));
      all.insert(all.end(), future.begin(), future.end());
      Outputs want = reference(*rig.layout, all);
      want.erase(want.begin(), want.begin() + static_cast<std::ptrdiff_t>(at));
      REQUIRE(run_chunks(state, future, 2) == want);
    };
    check(a, left);
    check(b, right);
  }
}

TEST_CASE("a fork can be taken back as far as its origin", "[kv]") {
  Rig rig;
  kv::State state = rig.state();
  run_chunks(state, make_tokens(40), 3);
  state.rewind(37);
  const kv::State fork = state.fork();
  for (std::int64_t to = 30; to <= 37; ++to) CHECK(fork.rewind_target(to) == (to < 35 ? 0 : to));
}

TEST_CASE("2,000 random operations equal the model that keeps everything", "[kv]") {
  std::mt19937 random(20260101);
  const auto pick = [&](std::uint32_t n) { return random() % n; };
  for (const FakeShape& shape : kShapes) {
    Rig rig(shape);
    kv::State state = rig.state();
    Tokens now;
    for (int i = 0; i < 500; ++i) {
      const std::uint32_t what = pick(10);
      if (what < 5 && now.size() < 160) {
        const Tokens next = make_tokens(1 + pick(what < 3 ? 3 : 30), random());
        now.insert(now.end(), next.begin(), next.end());
        Outputs want = reference(*rig.layout, now);
        want.erase(want.begin(), want.end() - static_cast<std::ptrdiff_t>(next.size()));
        REQUIRE(run(state, next) == want);
      } else if (what < 6) {
        run(state, make_tokens(1 + pick(12), random()), true);
      } else if (what < 8 && !now.empty()) {
        const std::uint32_t back = pick(what == 6 ? 4 : static_cast<std::uint32_t>(now.size()));
        const std::int64_t target = state.rewind_target(static_cast<std::int64_t>(now.size()) -
                                                        static_cast<std::int64_t>(back));
        state.rewind(target);
        now.resize(static_cast<std::size_t>(target));
      } else if (what == 8) {
        state = state.fork();
      } else {
        const auto bytes = save(state);
        kv::State other = rig.state();
        restore(other, bytes, now);
        state = std::move(other);
      }
      REQUIRE(state.length() == static_cast<std::int64_t>(now.size()));
    }
    CHECK(rig.store.stats().conflicts == 0);
  }
}
