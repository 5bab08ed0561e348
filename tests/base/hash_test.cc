// Hashes against published vectors.
#include "lib/base/hash.h"

#include <cstdint>
#include <vector>

#include "tests/support/catch.h"

using namespace v4i;

static std::string sha(const std::string& text) {
  Sha256 h;
  h.update(text.data(), text.size());
  return to_hex(h.finish());
}

TEST_CASE("sha256 gives the digests of FIPS 180-4", "[base]") {
  CHECK(sha("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256 does not depend on how the bytes are cut", "[base]") {
  const std::string text(300, 'x');
  for (std::size_t cut = 0; cut <= text.size(); cut += 7) {
    Sha256 h;
    h.update(text.data(), cut);
    h.update(text.data() + cut, text.size() - cut);
    CHECK(to_hex(h.finish()) == sha(text));
  }
}

TEST_CASE("checksum64 gives the values of xxHash's own sanity check", "[base]") {
  std::vector<std::uint8_t> data(2367);
  std::uint64_t x = 2654435761u;
  for (std::uint8_t& b : data) {
    b = static_cast<std::uint8_t>(x >> 56);
    x *= 11400714785074694797ull;
  }
  constexpr std::uint64_t kSeed = 11400714785074694797ull;
  CHECK(checksum64(data.data(), 0) == 0x2d06800538d394c2ull);
  CHECK(checksum64(data.data(), 0, kSeed) == 0xa8a6b918b2f0364aull);
  CHECK(checksum64(data.data(), 1) == 0xc44bdff4074eecdbull);
  CHECK(checksum64(data.data(), 12) == 0xa713daf0dfbb77e7ull);
  CHECK(checksum64(data.data(), 195) == 0xcd94217ee362ec3aull);
  CHECK(checksum64(data.data(), 2048) == 0xdd59e2c3a5f038e0ull);
  CHECK(checksum64(data.data(), 2367) == 0xcb37aeb9e5d361edull);
}
