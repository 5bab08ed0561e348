// Heat: who is expected back when; its bytes are not believed.
#include "lib/experts/heat.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "lib/base/file.h"
#include "lib/experts/guesses.h"
#include "lib/experts/heat_file.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

using namespace v4i;
using experts::Guesses;
using experts::Heat;
using test::TempDir;

namespace {

using Ids = std::vector<std::int32_t>;

Digest name(std::uint8_t first) {
  Digest d{};
  d[0] = first;
  return d;
}

}  // namespace

TEST_CASE("chance is the share of tokens that use an expert", "[experts]") {
  Heat heat(2, 8);
  for (int t = 0; t < 20000; ++t) {
    heat.used(1, t % 4 == 0 ? Ids{1, 5} : Ids{5, 7}, {});
    for (std::int32_t e = 0; e < 8; ++e) REQUIRE(heat.chance(0, e) == 0);
  }
  CHECK(heat.chance(1, 5) > 0.99f);
  CHECK(heat.chance(1, 5) <= 1.0f);
  CHECK(std::abs(heat.chance(1, 7) - 0.75f) < 0.1f);
  CHECK(std::abs(heat.chance(1, 1) - 0.25f) < 0.1f);
  CHECK(heat.chance(1, 2) == 0);
}

TEST_CASE("a chunk counts as its tokens do", "[experts]") {
  Heat single(1, 4), chunk(1, 4);
  for (int t = 0; t < 64; ++t) single.used(0, t % 8 == 0 ? Ids{0, 2} : Ids{0}, {});
  const std::int32_t begin[] = {0, 64, 64, 72, 72};  // expert 0: 64 tokens, expert 2: 8
  chunk.used(0, Ids{0, 2}, {64, begin});
  CHECK(std::abs(single.chance(0, 0) - chunk.chance(0, 0)) < 0.01f);
  CHECK(std::abs(single.chance(0, 2) - chunk.chance(0, 2)) < 0.04f);
}

TEST_CASE("what was popular long ago outlives what was used once", "[experts]") {
  Heat heat(1, 4);
  for (int t = 0; t < 2000; ++t) heat.used(0, Ids{0}, {});
  for (int t = 0; t < 20; ++t) heat.used(0, Ids{1}, {});
  CHECK(heat.chance(0, 1) > 0.4f);  // of the last tokens, all
  for (int t = 0; t < 40; ++t) heat.used(0, Ids{2}, {});
  CHECK(heat.chance(0, 0) > heat.chance(0, 1));
}

TEST_CASE("the layer in work is the last to come back", "[experts]") {
  Heat heat(4, 2);
  for (int l = 0; l < 4; ++l) heat.used(l, Ids{0}, {});
  CHECK(heat.next_use(2, 0, 1) < heat.next_use(3, 0, 1));
  CHECK(heat.next_use(3, 0, 1) < heat.next_use(0, 0, 1));
  CHECK(heat.next_use(0, 0, 1) < heat.next_use(1, 0, 1));
  CHECK(heat.next_use(1, 1, 1) > heat.next_use(1, 0, 1));
  CHECK(heat.ahead(1, 1) == 1.0f);
  CHECK(heat.ahead(2, 1) == 0.25f);
}

TEST_CASE("saved heat is taken back by the same model only, and damaged bytes never", "[experts]") {
  Heat heat(3, 5);
  for (int t = 0; t < 500; ++t) heat.used(t % 3, Ids{t % 5}, {});
  const std::string bytes = heat.save(name(1));
  Heat again(3, 5, 0);
  REQUIRE(again.restore(bytes, name(1)));
  Heat ever(3, 5, 0);
  for (int t = 0; t < 500; ++t) ever.used(t % 3, Ids{t % 5}, {});
  for (int l = 0; l < 3; ++l)
    for (std::int32_t e = 0; e < 5; ++e) CHECK(again.chance(l, e) == ever.chance(l, e));

  CHECK_FALSE(Heat(3, 5).restore(bytes, name(2)));
  CHECK_FALSE(Heat(5, 3).restore(bytes, name(1)));
  CHECK_FALSE(Heat(3, 6).restore(bytes, name(1)));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string bad = bytes;
    bad[i] ^= 16;
    REQUIRE_FALSE(again.restore(bad, name(1)));
    REQUIRE_FALSE(again.restore(std::string_view(bytes).substr(0, i), name(1)));
  }
  CHECK_FALSE(again.restore(bytes + "x", name(1)));
}

TEST_CASE("values that are no shares are refused though their checksum is right", "[experts]") {
  const std::string good = Heat(1, 1).save(name(1));
  for (const float value : {-0.5f, 1.5f, std::nanf(""), HUGE_VALF}) {
    std::string bad = good;
    std::memcpy(bad.data() + bad.size() - sizeof value, &value, sizeof value);
    const std::uint64_t sum = checksum64(&value, sizeof value);
    std::memcpy(bad.data() + bad.size() - sizeof value - sizeof sum, &sum, sizeof sum);
    CHECK_FALSE(Heat(1, 1).restore(bad, name(1)));
    const float fine = 0.5f;
    const std::uint64_t fine_sum = checksum64(&fine, sizeof fine);
    std::memcpy(bad.data() + bad.size() - sizeof fine, &fine, sizeof fine);
    std::memcpy(bad.data() + bad.size() - sizeof fine - sizeof fine_sum, &fine_sum,
                sizeof fine_sum);
    CHECK(Heat(1, 1).restore(bad, name(1)));
  }
}

TEST_CASE("bad guesses are given up, and taken up when they are good again", "[experts]") {
  Guesses g;
  g.reserve(8);
  const auto round = [&](bool right) {
    g.begin(3);
    g.add(1);
    g.add(4);
    g.end(3, right ? Ids{1, 4} : Ids{0, 2});
  };
  for (int i = 0; i < 200; ++i) round(true);
  CHECK(g.good());
  CHECK(g.wanted());
  for (int i = 0; i < 200; ++i) round(false);
  CHECK_FALSE(g.good());
  int asked = 0;
  for (int i = 0; i < 160; ++i) asked += g.wanted();
  CHECK(asked == 10);  // to see whether they are better now
  for (int i = 0; i < 200; ++i) round(true);
  CHECK(g.good());
  // A guess for another layer than the one that comes says nothing.
  const float before = g.right();
  g.begin(2);
  g.add(1);
  g.end(3, Ids{0});
  CHECK(g.right() == before);
}

namespace {

// Experts whose heat is made up.
class Warm final : public experts::Experts {
 public:
  explicit Warm(char byte) : heat_(std::size_t{1} << 22, byte) {}
  std::string heat() const override { return heat_; }

 private:
  std::size_t wait(int, std::span<const std::int32_t>, std::size_t) override { return 0; }
  const model::Expert& view(int, std::int32_t) const override { std::abort(); }
  std::string heat_;
};

}  // namespace

TEST_CASE("models of one process that end at once keep the heat of one of them", "[experts]") {
  const TempDir folder;
  const std::string path = experts::heat_path(folder.path(), name(1));
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> complaints{0};
    std::vector<std::thread> threads;
    for (const char byte : {'a', 'b', 'c', 'd'})
      threads.emplace_back([&, byte] {
        experts::save_heat(Warm(byte), path, [&](const std::string&) { ++complaints; });
      });
    for (std::thread& t : threads) t.join();
    const std::string kept = read_text_file(path, std::size_t{1} << 23);
    REQUIRE(complaints == 0);
    REQUIRE(kept.size() == std::size_t{1} << 22);
    REQUIRE(std::all_of(kept.begin(), kept.end(), [&](char c) { return c == kept[0]; }));
  }
}
