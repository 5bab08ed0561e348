// Pieces of a few sizes: whole, apart, and gone from the process when they are given back.
#include "lib/store/slabs.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "tests/support/catch.h"

using v4i::store::Slabs;

namespace {

constexpr std::size_t kPage = 4096;

// Of `n` bytes from the page that `p` lies in, those whose pages are in memory.
std::size_t resident(const std::byte* p, std::size_t n) {
  const auto at = reinterpret_cast<std::uintptr_t>(p) / kPage * kPage;
  std::vector<unsigned char> in((n + kPage - 1) / kPage);
  if (::mincore(reinterpret_cast<void*>(at), n, in.data()) != 0) return 0;
  return kPage * static_cast<std::size_t>(
                     std::count_if(in.begin(), in.end(), [](unsigned char c) { return c & 1; }));
}

}  // namespace

TEST_CASE("pieces do not overlap and keep their bytes, whatever comes and goes", "[store][slabs]") {
  Slabs slabs;
  std::mt19937 random(5);
  const std::size_t sizes[] = {4096, 4352, 37376, 100001};
  std::map<std::byte*, std::pair<std::size_t, unsigned char>> held;
  for (int i = 0; i < 20000; ++i) {
    if (held.size() < 300 || random() % 2 == 0) {
      const std::size_t n = sizes[random() % 4];
      std::byte* p = slabs.take(n);
      REQUIRE(p != nullptr);
      REQUIRE(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
      REQUIRE(p[0] == std::byte{0});
      REQUIRE(std::memcmp(p, p + 1, n - 1) == 0);
      const auto [after, fresh] = held.emplace(p, std::pair(n, static_cast<unsigned char>(i)));
      REQUIRE(fresh);
      if (after != held.begin())
        REQUIRE(std::prev(after)->first + std::prev(after)->second.first <= p);
      if (std::next(after) != held.end()) REQUIRE(p + n <= std::next(after)->first);
      std::memset(p, static_cast<unsigned char>(i), n);
    } else {
      const auto it = std::next(held.begin(), static_cast<std::ptrdiff_t>(random() % held.size()));
      const auto [n, value] = it->second;
      REQUIRE(it->first[0] == std::byte{value});
      REQUIRE(std::memcmp(it->first, it->first + 1, n - 1) == 0);
      slabs.give(it->first, n);
      held.erase(it);
    }
  }
  for (const auto& [p, what] : held) slabs.give(p, what.first);
  CHECK(slabs.slabs() == 0);
}

TEST_CASE("pages of pieces that were given back leave memory, those of their neighbours stay",
          "[store][slabs]") {
  constexpr std::size_t kBytes = 37376;  // 64 rows of 584: no multiple of a page
  constexpr std::size_t kPieces = 90;    // of one slab
  Slabs slabs;
  std::vector<std::byte*> p;
  for (std::size_t i = 0; i < kPieces; ++i) {
    p.push_back(slabs.take(kBytes));
    std::memset(p.back(), 7, kBytes);
  }
  REQUIRE(slabs.slabs() == 1);
  std::byte* const first = p[0];
  const std::size_t all = kPieces * kBytes;
  CHECK(resident(first, all) >= all - kPage);
  for (std::size_t i = 30; i < 60; ++i) slabs.give(p[i], kBytes);  // side by side
  CHECK(resident(first, all) <= all - 30 * kBytes + 2 * kPage);
  for (std::size_t i = 1; i < 30; i += 2) slabs.give(p[i], kBytes);  // every other one
  CHECK(resident(first, 30 * kBytes) <= 15 * (kBytes + 2 * kPage));
  for (std::size_t i = 0; i < 30; i += 2) {
    CHECK(p[i][0] == std::byte{7});
    CHECK(std::memcmp(p[i], p[i] + 1, kBytes - 1) == 0);
  }
}
