// Engram's rows are those of numpy's generator and of the official formula.
#include "lib/engram/hash.h"

#include <algorithm>
#include <numeric>

#include "lib/base/hash.h"
#include "tests/engram/configs.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::engram;

namespace {

using Rows = std::vector<std::int32_t>;

Rows rows_of(const Hash& hash, std::size_t layer, const std::vector<std::int32_t>& window) {
  Rows out(static_cast<std::size_t>(hash.columns()));
  hash.rows(layer, window.data(), out.data());
  return out;
}

std::int64_t sum(const Rows& rows) { return std::accumulate(rows.begin(), rows.end(), 0ll); }

Hash released() { return Hash(test::released_engram(), 2, "config.json"); }
Hash tiny() { return Hash(test::tiny_engram(), 1, "config.json"); }

// tests/engram/make_golden.py has the same.
std::uint64_t splitmix(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15;
  std::uint64_t x = state;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

std::string rows_digest(const Hash& hash, std::uint64_t classes) {
  Sha256 h;
  for (std::size_t layer = 0; layer < hash.layers(); ++layer) {
    std::uint64_t state = 1;
    for (int i = 0; i < 100000; ++i) {
      std::vector<std::int32_t> window(4);
      for (std::int32_t& c : window) {
        const std::uint64_t x = splitmix(state);
        c = x % 8 == 0 ? kDead : static_cast<std::int32_t>((x >> 8) % classes);
      }
      const Rows rows = rows_of(hash, layer, window);
      h.update(rows.data(), rows.size() * sizeof(rows[0]));
    }
  }
  return to_hex(h.finish());
}

std::string multipliers_digest(model::EngramConfig c) {
  c.layers.resize(300);
  std::iota(c.layers.begin(), c.layers.end(), 0);
  c.rows.assign(300, 0);
  c.heads = 1;  // few primes: their sums are found by being refused
  c.bucket_rows = 2;
  for (std::int64_t next = 2; std::int64_t & rows : c.rows)
    for (int i = 0; i < 3; ++i) {
      const auto prime = static_cast<std::int64_t>(next_prime(static_cast<std::uint64_t>(next)));
      rows += prime;
      next = prime + 1;
    }
  const Hash hash(c, 0, "config.json");
  Sha256 h;
  for (std::size_t layer = 0; layer < hash.layers(); ++layer)
    h.update(hash.multipliers(layer).data(), hash.multipliers(layer).size_bytes());
  return to_hex(h.finish());
}

}  // namespace

TEST_CASE("multipliers are numpy's", "[engram]") {
  const Hash hash = released();
  const auto list = [&](std::size_t layer) {
    const auto m = hash.multipliers(layer);
    return std::vector<std::uint64_t>(m.begin(), m.end());
  };
  CHECK(list(0) ==
        std::vector<std::uint64_t>{76632096046245, 4839876093313, 35959672319349, 73987337458391});
  CHECK(list(1) ==
        std::vector<std::uint64_t>{67716810739261, 51510806800915, 30921347202721, 82619226485591});
  CHECK(tiny().multipliers(0)[0] == 22803686670914815);  // above 2^53
  CHECK(tiny().multipliers(1)[3] == 5640466306968973);
  CHECK(multipliers_digest(test::released_engram()) ==
        "ab71908c664bdf4b3c6567e825f260fcaad1180f345990916964ddbb42e63f52");
  CHECK(multipliers_digest(test::tiny_engram()) ==
        "ba0a2cade8addd77c20c51d949b532e51640daee0b6ef1f6398beeac07fcd873");
}

TEST_CASE("primes are the next ones and add up to the table", "[engram]") {
  const Hash hash = released();
  REQUIRE(hash.columns() == 24);
  CHECK(hash.prime(0, 0) == 16000057);
  CHECK(hash.prime(0, 8) == 16000189);
  CHECK(hash.prime(0, 23) == 16000463);
  CHECK(hash.prime(1, 0) == 16000477);
  CHECK(hash.prime(1, 23) == 16000889);
  const auto primes = [](const Hash& h, std::size_t layer) {
    std::vector<std::uint64_t> out;
    for (std::int64_t k = 0; k < h.columns(); ++k) out.push_back(h.prime(layer, k));
    return out;
  };
  CHECK(primes(tiny(), 0) == std::vector<std::uint64_t>{211, 223, 227, 229, 233, 239});
  CHECK(primes(tiny(), 1) == std::vector<std::uint64_t>{241, 251, 257, 263, 269, 271});
}

TEST_CASE("a table of another length than its primes is refused with both numbers", "[engram]") {
  model::EngramConfig c = test::released_engram();
  for (const int by : {1, -1}) {
    c.rows[1] = 384016682 + by;
    const std::string said = test::refusal([&] { Hash(c, 2, "config.json"); });
    CHECK_THAT(said, Catch::Contains(std::to_string(384016682 + by) + " for layer 14"));
    CHECK_THAT(said, Catch::Contains("384016682, the sum of its primes from engram_vocab_size"));
    CHECK(test::refusal_code([&] { Hash(c, 2, "config.json"); }) == Code::kFormat);
  }
  c.bucket_rows = 0x7fffffff;  // itself a prime, and the next one does not fit
  CHECK_THAT(test::refusal([&] { Hash(c, 2, "config.json"); }),
             Catch::Contains("for layer 1, expected at least 2147483647"));
}

TEST_CASE("primes up to 2^32 are found", "[engram]") {
  CHECK(next_prime(0) == 2);
  CHECK(next_prime(3) == 3);
  CHECK(next_prime(62) == 67);
  CHECK(next_prime(4488) == 4493);              // past 67 * 67
  CHECK(next_prime(3215031751) == 3215031767);  // a pseudoprime to the bases 2, 3, 5 and 7
  CHECK(next_prime(4294967280) == 4294967291);
  std::vector<bool> composite(200000);
  std::uint64_t next = 2;
  for (std::size_t n = 2; n < composite.size(); ++n) {
    if (composite[n]) continue;
    for (std::size_t m = n * n; m < composite.size(); m += n) composite[m] = true;
    REQUIRE(next_prime(next) == n);
    next = n + 1;
  }
}

TEST_CASE("the fast remainder is the remainder", "[engram]") {
  std::uint64_t state = 7;
  for (const std::uint32_t d :
       {1u, 2u, 3u, 211u, 16000057u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    const Modulo m(d);
    for (std::uint64_t x :
         {std::uint64_t{0}, std::uint64_t{d} - 1, std::uint64_t{d}, ~std::uint64_t{0},
          ~std::uint64_t{0} - d, ~std::uint64_t{0} / d * d, ~std::uint64_t{0} / d * d - 1})
      REQUIRE(m.of(x) == x % d);
    for (int i = 0; i < 100000; ++i) {
      const std::uint64_t x = splitmix(state) >> i % 40;
      REQUIRE(m.of(x) == x % d);
      REQUIRE(m.of(x / d * d) == 0);
    }
  }
}

TEST_CASE("windows of the released model select its rows", "[engram]") {
  const Hash hash = released();
  CHECK(rows_of(hash, 0, {1000, 2000, 3000, 4000}) ==
        Rows{2490620,   30742399,  43508771,  49736205,  75400613,  94708347,
             104378374, 122161697, 141932547, 152141891, 163307126, 176705110,
             195924637, 213571307, 224086977, 255415522, 264700880, 276602590,
             301365869, 305879126, 324937183, 345597303, 361149035, 375488643});
  CHECK(rows_of(hash, 1, {1000, 2000, 3000, 4000}) ==
        Rows{13209604,  27196187,  47300532,  55442865,  67536165,  80841902,
             96369704,  120577284, 136676902, 155853486, 162110656, 184514255,
             206984010, 220009172, 236724639, 253058204, 262006302, 278444999,
             300656409, 317176764, 330486514, 337310662, 359115282, 372276798});
  const Rows start = rows_of(hash, 0, {5, kDead, kDead, kDead});
  CHECK(start == rows_of(hash, 0, {5, 2, 2, 2}));
  CHECK(Rows(start.begin(), start.begin() + 3) == Rows{5412672, 18319159, 35492627});
  CHECK(start.back() == 372009279);
  CHECK(rows_of(hash, 1, {5, kDead, 1000, 7}) == rows_of(hash, 1, {5, 2, 2, 2}));
  CHECK(rows_of(hash, 1, {kDead, 8, 9, 10}) == rows_of(hash, 1, {2, 2, 2, 2}));
}

TEST_CASE("a sequence of the released model selects its rows", "[engram]") {
  const Hash hash = released();
  const std::vector<std::int32_t> classes = {0, 604, 4191, 10486, 98611};  // of ids 0, 1000, ...
  std::vector<std::int32_t> windows(classes.size() * 4);
  fill_windows(classes, 0, 4, windows.data());
  const std::int64_t sums[5][2] = {{4630246670, 4608340352},
                                   {4583436445, 4644081147},
                                   {4603562429, 4595277516},
                                   {4627237278, 4603081628},
                                   {4605556185, 4600368920}};
  for (std::size_t p = 0; p < 5; ++p)
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const auto at = windows.begin() + static_cast<std::ptrdiff_t>(p) * 4;
      CHECK(sum(rows_of(hash, layer, {at, at + 4})) == sums[p][layer]);
    }
}

TEST_CASE("the tiny model's rows are its oracle's, also around images", "[engram]") {
  struct Case {
    std::vector<std::int32_t> window;
    Rows layer1, layer4;
  };
  const Hash hash = tiny();
  const Case cases[] = {
      {{0, -1, -1, -1}, {75, 370, 559, 876, 976, 1268}, {119, 484, 741, 890, 1070, 1530}},
      {{293, 0, -1, -1}, {99, 280, 452, 715, 1122, 1357}, {181, 254, 747, 968, 1072, 1488}},
      {{82, 293, 0, -1}, {132, 399, 640, 791, 1086, 1202}, {217, 477, 737, 1001, 1118, 1517}},
      {{217, 211, 71, 215}, {201, 392, 614, 781, 1097, 1154}, {151, 327, 646, 766, 1182, 1433}},
      {{-1, 101, 296, 151}, {180, 354, 564, 740, 1116, 1221}, {176, 254, 571, 908, 1211, 1357}},
      {{89, -1, -1, -1}, {204, 399, 517, 697, 1022, 1150}, {207, 266, 494, 950, 1211, 1459}},
      {{13, 89, -1, -1}, {57, 286, 456, 829, 1004, 1263}, {165, 394, 551, 873, 1152, 1478}},
      {{25, 13, 89, -1}, {67, 240, 449, 835, 1083, 1184}, {69, 389, 562, 850, 1101, 1356}},
      {{319, -1, -1, -1}, {47, 267, 620, 743, 1003, 1173}, {118, 485, 589, 949, 1133, 1497}},
      {{145, 319, -1, -1}, {41, 248, 564, 674, 1095, 1166}, {127, 352, 502, 958, 1225, 1313}}};
  for (const Case& c : cases) {
    CHECK(rows_of(hash, 0, c.window) == c.layer1);
    CHECK(rows_of(hash, 1, c.window) == c.layer4);
  }
}

TEST_CASE("rows of 100,000 random windows are Python's", "[engram]") {
  CHECK(rows_digest(released(), 99092) ==
        "9e256f6e676df54f044bf9d982d9f2b8cc55c09c6926001a37788e72edd2b1c9");
  CHECK(rows_digest(tiny(), 333) ==
        "6d8aa786331546efa590e6be33beb5ae65aac837d5224d3ff0f4c882d7f5710f");
}

TEST_CASE("windows made in pieces are those of the whole sequence, for every split", "[engram]") {
  std::vector<std::int32_t> classes(40);
  std::uint64_t state = 3;
  for (std::int32_t& c : classes)
    c = splitmix(state) % 5 == 0 ? kDead : static_cast<std::int32_t>(splitmix(state) % 300);
  for (const std::int64_t ngram : {2, 4, 7}) {
    const auto wide = static_cast<std::size_t>(ngram);
    std::vector<std::int32_t> whole(classes.size() * wide);
    fill_windows(classes, 0, ngram, whole.data());
    for (std::size_t split = 0; split <= classes.size(); ++split) {
      std::vector<std::int32_t> pieces(whole.size(), 12345);
      fill_windows({classes.data(), split}, 0, ngram, pieces.data());
      fill_windows(classes, split, ngram, pieces.data() + split * wide);
      REQUIRE(pieces == whole);
    }
  }
}

TEST_CASE("the first text after an image looks back on nothing", "[engram]") {
  const std::vector<std::int32_t> classes = {7, 8, kDead, kDead, 9, 10};
  std::vector<std::int32_t> windows(classes.size() * 4);
  fill_windows(classes, 0, 4, windows.data());
  const std::vector<std::int32_t> after(windows.begin() + 16, windows.begin() + 20);
  CHECK(rows_of(tiny(), 0, after) == rows_of(tiny(), 0, {9, 1, 1, 1}));
  CHECK(rows_of(tiny(), 0, {10, 9, kDead, kDead}) == rows_of(tiny(), 0, {10, 9, 1, 1}));
}

TEST_CASE("tokens taken back and appended again select the same rows", "[engram]") {
  const Hash hash = tiny();
  std::vector<std::int32_t> classes = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::int32_t> before(32), after(32);
  fill_windows(classes, 0, 4, before.data());
  for (std::size_t back = 1; back <= 8; ++back) {
    std::vector<std::int32_t> again(classes.begin(), classes.end() - static_cast<int>(back));
    again.insert(again.end(), back, 300);  // a draft that is refused
    fill_windows(again, 8 - back, 4, after.data());
    std::copy(classes.end() - static_cast<int>(back), classes.end(),
              again.end() - static_cast<int>(back));
    fill_windows(again, 0, 4, after.data());
    REQUIRE(after == before);
  }
}

TEST_CASE("a class that is none is a broken promise", "[engram]") {
  CHECK(test::refusal_code([] { rows_of(tiny(), 0, {333, 0, 0, 0}); }) == Code::kInternal);
  CHECK(test::refusal_code([] { rows_of(tiny(), 0, {0, 0, 0, -2}); }) == Code::kInternal);
}
