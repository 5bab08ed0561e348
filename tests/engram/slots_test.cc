// Slots against a map: what they hold is what was kept, and they never hold more than they may.
#include <cstring>
#include <map>
#include <random>

#include "lib/engram/row_slots.h"
#include "tests/support/catch.h"

using namespace v4i;
using engram::key_of;
using engram::KeyIndex;
using engram::Part;
using engram::RowForm;
using engram::RowSlots;

namespace {

std::vector<std::byte> row_of(std::uint64_t key) {
  std::vector<std::byte> out(33);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<std::byte>(key * 131 + (key >> 32) + i * 7);
  return out;
}

bool holds(const RowSlots::Found& found, std::uint64_t key) {
  return std::memcmp(found.row, row_of(key).data(), 33) == 0;
}

}  // namespace

TEST_CASE("an index finds what a map finds", "[engram]") {
  std::minstd_rand random(1);
  for (const std::uint32_t kinds : {20u, 60u, 100u}) {
    KeyIndex index;
    index.resize(128);
    std::map<std::uint64_t, std::uint32_t> map;
    std::vector<std::uint64_t> keys;
    const auto key_of_number = [&](std::uint32_t n) { return keys[n]; };
    for (int i = 0; i < 20000; ++i) {
      const std::uint64_t key = key_of(random() % 2, static_cast<std::int32_t>(random() % kinds));
      const auto it = map.find(key);
      REQUIRE(index.find(key, key_of_number) == (it == map.end() ? KeyIndex::kNone : it->second));
      if (it != map.end()) {
        index.erase(key, key_of_number);
        map.erase(it);
      } else if (map.size() < 64) {
        keys.push_back(key);
        map[key] = static_cast<std::uint32_t>(keys.size() - 1);
        index.insert(key, map[key]);
      }
    }
  }
}

TEST_CASE("slots hold what was kept, within their cap", "[engram]") {
  std::minstd_rand random(2);
  for (const std::uint64_t cap : {0u, 100u, 5000u, 100000u}) {
    Budget budget;
    RowSlots slots(budget, RowForm(32), cap, 1000);
    std::size_t found = 0;
    for (int i = 0; i < 30000; ++i) {
      const std::uint64_t key = key_of(random() % 2, static_cast<std::int32_t>(random() % 500));
      const RowSlots::Found f = slots.ask(key);
      if (f.row != nullptr) {
        REQUIRE((f.parts == RowSlots::kWhole && holds(f, key)));
        ++found;
      } else {
        slots.keep(key, row_of(key).data());
      }
      if (random() % 50 == 0) slots.drop(key_of(0, static_cast<std::int32_t>(random() % 500)));
      if (random() % 500 == 0) slots.give_back(1 + random() % 3000, random() % 3000);
      REQUIRE(slots.bytes() <= cap);
      REQUIRE(budget.used() == slots.bytes());
    }
    CHECK((found > 0) == (cap >= 5000));
    const std::uint64_t held = slots.bytes();
    CHECK(slots.give_back(~0ull, 0) == held);
    CHECK(slots.bytes() == 0);
    CHECK(budget.used() == 0);
  }
}

TEST_CASE("a row that is asked for again stays, one that is not makes room", "[engram]") {
  Budget budget;
  RowSlots slots(budget, RowForm(32), 20000, 4000);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t hot = key_of(0, i % 50), cold = key_of(1, i);
    if (slots.ask(hot).row == nullptr) slots.keep(hot, row_of(hot).data());
    slots.keep(cold, row_of(cold).data());
  }
  for (int i = 0; i < 50; ++i) CHECK(slots.has(key_of(0, i)));
}

TEST_CASE("an expected row comes in two parts, and half of the slots stay for others", "[engram]") {
  Budget budget;
  RowSlots slots(budget, RowForm(32), 20000, 4000);
  const std::uint64_t key = key_of(1, 7);
  const auto row = row_of(key);
  REQUIRE(slots.expect(key));
  CHECK(slots.ask(key).parts == 0);
  CHECK(slots.arrived(key, Part::kScales, row.data() + 32).parts == 2);
  CHECK(slots.ask(key).parts == 2);
  CHECK(slots.arrived(key, Part::kCodes, row.data()).parts == RowSlots::kWhole);
  CHECK(holds(slots.ask(key), key));
  CHECK(slots.arrived(key_of(1, 8), Part::kCodes, row.data()).row == nullptr);

  std::size_t taken = 0;
  for (int i = 100; i < 2000; ++i) taken += slots.expect(key_of(0, i));
  CHECK(taken == slots.slots() / 2);
  CHECK(holds(slots.ask(key), key));
  for (int i = 100; i < 110; ++i) slots.ask(key_of(0, i));  // no longer waiting to be asked for
  for (int i = 2000; i < 3000; ++i) taken += slots.expect(key_of(0, i));
  CHECK(taken == slots.slots() / 2 + 10);
}

TEST_CASE("slots grow only as far as the budget has room, and nobody is asked to make it",
          "[engram]") {
  Budget budget(9000);
  RowSlots slots(budget, RowForm(32), 1 << 20, 4000);
  for (int i = 0; i < 1000; ++i) slots.keep(key_of(0, i), row_of(key_of(0, i)).data());
  CHECK(slots.bytes() > 4000);
  CHECK(slots.bytes() <= 9000);
  CHECK(slots.has(key_of(0, 999)));
  CHECK_FALSE(slots.has(key_of(0, 0)));
}
