// See conformance.h.
#include "tests/store/conformance.h"

#include "lib/store/selftest.h"

namespace v4i::test {

std::vector<std::string> check_store(const MakeStore& make, const StoreTraits& traits) {
  store::SelftestOptions options;
  options.seed = 1;
  options.capacity = traits.capacity;
  options.keeps_what_fits = traits.keeps_what_fits;
  const std::unique_ptr<store::BlockStore> store = make();
  return store::selftest(*store, options).failed;
}

store::BlockKey make_key(std::uint64_t n) {
  store::BlockKey key;
  for (std::size_t i = 0; i < key.bytes.size(); ++i)
    key.bytes[i] = static_cast<std::uint8_t>((n * 0x9e3779b97f4a7c15ull + i) >> (i % 8 * 8));
  return key;
}

std::vector<std::byte> make_block(std::uint64_t n, std::size_t bytes) {
  std::vector<std::byte> block(bytes);
  std::uint64_t x = n * 2 + 1;
  for (std::byte& b : block) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    b = static_cast<std::byte>(x >> 56);
  }
  return block;
}

}  // namespace v4i::test
