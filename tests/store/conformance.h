// The suite of lib/store/selftest.h, for stores that a test can make as often as it likes, and keys
// and bytes for tests of stores.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/store/block_store.h"

namespace v4i::test {

struct StoreTraits {
  std::uint64_t capacity = 0;  // bytes; the suite needs at least 64 KiB
  // The store keeps every block while its bytes fit (a cache need not).
  bool keeps_what_fits = true;
};

using MakeStore = std::function<std::unique_ptr<store::BlockStore>()>;

// What is wrong with a fresh store, one sentence each; empty when nothing is.
std::vector<std::string> check_store(const MakeStore& make, const StoreTraits& traits);

store::BlockKey make_key(std::uint64_t n);
std::vector<std::byte> make_block(std::uint64_t n, std::size_t bytes);

}  // namespace v4i::test
