// save and restore: equal for ever, or refused with a sentence.
#include <algorithm>
#include <cstring>
#include <random>

#include "lib/base/error.h"
#include "lib/kv/state.h"
#include "tests/kv/fake_forward.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::test;

namespace {

struct Rig {
  Budget budget;
  store::BlockCache store{budget};
  std::shared_ptr<const kv::Layout> layout = make_layout();
  kv::State state(std::uint8_t seed = 0) { return kv::State(layout, store, Digest{seed}); }
};

// The sentence of the refusal; empty when restored.
std::string refusal(kv::State& state, std::span<const std::byte> bytes, const Tokens& tokens) {
  try {
    restore(state, bytes, tokens);
  } catch (const Error& e) {
    CHECK(e.code() == Code::kFormat);
    return e.text();
  }
  return "";
}

bool mentions(const std::string& text, const char* words) {
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("save, restore, continue equals uninterrupted at every position 0..300", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(305);
  const Outputs want = reference(*rig.layout, tokens);
  kv::State state = rig.state();
  for (std::size_t at = 0; at <= 300; ++at) {
    const auto bytes = save(state);
    const Tokens past(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(at));
    Rig elsewhere;  // nothing to share with
    kv::State other = elsewhere.state();
    restore(other, bytes, past);
    REQUIRE(save(other) == bytes);
    for (std::size_t i = at; i < at + 5; ++i)
      REQUIRE(run(other, std::span(tokens).subspan(i, 1)) == Outputs{want[i]});
    REQUIRE(run(state, std::span(tokens).subspan(at, 1)) == Outputs{want[at]});
  }
}

TEST_CASE("a restored state rewinds as far as the saved one", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(50);
  kv::State state = rig.state();
  run_chunks(state, tokens, 7);
  state.rewind(47);
  const Tokens past(tokens.begin(), tokens.begin() + 47);
  kv::State other = rig.state();
  restore(other, save(state), past);
  for (std::int64_t to = 40; to <= 47; ++to)
    CHECK(other.rewind_target(to) == state.rewind_target(to));
}

TEST_CASE("restored blocks are shared with a session of the same tokens", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(200);
  kv::State state = rig.state();
  run_chunks(state, tokens, 50);
  const std::uint64_t blocks = rig.store.stats().blocks;
  kv::State other = rig.state();
  restore(other, save(state), tokens);
  CHECK(blocks > 20);
  CHECK(rig.store.stats().blocks == blocks);
  CHECK(rig.store.stats().shared == blocks);
}

TEST_CASE("1,000 damaged saves are refused with a sentence, or equal the original", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(150);
  kv::State state = rig.state();
  run_chunks(state, tokens, 50);
  const auto good = save(state);
  std::mt19937 random(7);
  kv::State victim = rig.state();
  run_chunks(victim, make_tokens(20, 5), 20);
  const auto before = save(victim);
  for (int i = 0; i < 1000; ++i) {
    auto bad = good;
    const std::size_t at = random() % bad.size();
    switch (random() % 5) {
      case 0:
        bad[at] ^= static_cast<std::byte>(1 << random() % 8);
        break;
      case 1:
        bad.resize(at);
        break;
      case 2:
        bad.erase(bad.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      case 3:
        bad.insert(bad.begin() + static_cast<std::ptrdiff_t>(at), std::byte{0x5a});
        break;
      default:
        for (std::size_t k = at; k < std::min(at + 8, bad.size()); ++k)
          bad[k] = static_cast<std::byte>(random());
    }
    const std::string text = refusal(victim, bad, tokens);
    if (text.empty()) {
      REQUIRE(save(victim) == good);
      kv::State again = rig.state();
      restore(again, before, make_tokens(20, 5));
      victim = std::move(again);
    } else {
      REQUIRE(text.size() > 10);
      REQUIRE(save(victim) == before);
    }
  }
}

TEST_CASE("every flipped bit of the header, and every cut, is refused", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(40);
  kv::State state = rig.state(), victim = rig.state();
  run_chunks(state, tokens, 9);
  const auto good = save(state);
  for (std::size_t bit = 0; bit < 104 * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    REQUIRE(refusal(victim, bad, tokens) != "");
  }
  for (std::size_t n = 0; n < good.size(); n += 5)
    REQUIRE(refusal(victim, std::span(good).first(n), tokens) != "");
  CHECK(victim.length() == 0);
  CHECK(refusal(victim, good, tokens) == "");
}

TEST_CASE("a save of another model, layout, version or token list is refused by name", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(40);
  kv::State state = rig.state(), other_model = rig.state(1), victim = rig.state();
  run_chunks(state, tokens, 9);
  const auto good = save(state);
  CHECK(mentions(refusal(other_model, good, tokens), "another model"));

  Rig wide;
  wide.layout = make_layout({.window = 9});
  kv::State other_layout = wide.state();
  CHECK(mentions(refusal(other_layout, good, tokens), "another model"));

  CHECK(mentions(refusal(victim, good, make_tokens(39)), "40 tokens"));
  CHECK(mentions(refusal(victim, good, make_tokens(40, 2)), "other tokens"));

  auto future = good;
  future[8] = std::byte{9};
  CHECK(mentions(refusal(victim, future, tokens), "version 9"));
  CHECK(mentions(refusal(victim, std::vector<std::byte>(200), tokens), "something else"));
}

TEST_CASE("a header that claims impossible rings is refused even when its checksum fits", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(40);
  kv::State state = rig.state(), victim = rig.state();
  run_chunks(state, tokens, 9);
  const auto forged = [&](std::int64_t high) {
    auto bytes = save(state);
    std::memcpy(bytes.data() + 88, &high, 8);
    const std::uint64_t sum = checksum64(bytes.data(), 96, 0);
    std::memcpy(bytes.data() + 96, &sum, 8);
    return refusal(victim, bytes, tokens);
  };
  CHECK(mentions(forged(39), "rings written up to 39"));
  CHECK(mentions(forged(46), "rings written up to 46"));
  CHECK(mentions(forged(std::int64_t{-1} << 63), "rings"));
  CHECK(mentions(forged((std::int64_t{1} << 62)), "rings"));
  CHECK(forged(45) == "");
}

TEST_CASE("blocks in another order are refused though each is whole", "[kv]") {
  Rig rig;
  const Tokens tokens = make_tokens(64);  // 4 blocks of layer 1, 4 of its keys, 1 of layer 2
  kv::State state = rig.state(), victim = rig.state();
  run_chunks(state, tokens, 9);
  const auto good = save(state);
  const kv::LayerLayout& layer = rig.layout->layers[1];
  const std::size_t block = 4 * rig.layout->row_bytes(layer, false) + 8;
  const std::size_t keys = 4 * rig.layout->row_bytes(layer, true) + 8;
  const std::size_t first = 104 + rig.layout->fixed_bytes + 3 * 8;  // a sum for each layer
  REQUIRE(good.size() == first + 5 * block + 4 * keys);
  const auto swapped = [&](std::size_t other) {
    auto bytes = good;
    std::swap_ranges(bytes.data() + first, bytes.data() + first + block, bytes.data() + other);
    return refusal(victim, bytes, tokens);
  };
  CHECK(mentions(swapped(first + block), "checksum"));                 // of the same layer
  CHECK(mentions(swapped(first + 4 * block + 4 * keys), "checksum"));  // of another one
  CHECK(refusal(victim, good, tokens) == "");
}

TEST_CASE("a stream with a huge length allocates nothing", "[kv]") {
  Rig rig;
  kv::State state = rig.state(), victim = rig.state();
  auto bytes = save(state);
  const std::int64_t huge = std::int64_t{1} << 60;
  std::memcpy(bytes.data() + 80, &huge, 8);
  std::memcpy(bytes.data() + 88, &huge, 8);
  const std::uint64_t sum = checksum64(bytes.data(), 96, 0);  // as a forger would
  std::memcpy(bytes.data() + 96, &sum, 8);
  const std::uint64_t peak = rig.budget.peak();
  CHECK(mentions(refusal(victim, bytes, {}), "token ids"));
  CHECK(rig.budget.peak() == peak);
}
