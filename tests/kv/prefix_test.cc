// Prefix: the chain names exactly the tokens.
#include "lib/kv/prefix.h"

#include <set>

#include "tests/kv/fake_forward.h"
#include "tests/support/catch.h"

using namespace v4i;
using namespace v4i::test;

namespace {

kv::Prefix chain(Budget& budget, const Tokens& tokens, std::size_t piece) {
  kv::Prefix prefix(budget, Digest{});
  const std::span<const std::int32_t> all = tokens;
  for (std::size_t at = 0; at < all.size(); at += piece) {
    const auto part = all.subspan(at, std::min(piece, all.size() - at));
    prefix.reserve(prefix.size() + static_cast<std::int64_t>(part.size()));
    prefix.append(part);
  }
  return prefix;
}

}  // namespace

TEST_CASE("the digest of a prefix does not depend on how it was appended", "[kv]") {
  Budget budget;
  const Tokens tokens = make_tokens(700);
  const kv::Prefix whole = chain(budget, tokens, 700);
  for (std::size_t piece : {1u, 3u, 127u, 128u, 129u, 512u}) {
    const kv::Prefix parts = chain(budget, tokens, piece);
    for (std::int64_t n = 0; n <= 700; n += 7) REQUIRE(parts.digest(n) == whole.digest(n));
  }
}

TEST_CASE("prefixes of different length or content have different digests", "[kv]") {
  Budget budget;
  const Tokens tokens = make_tokens(400);
  const kv::Prefix prefix = chain(budget, tokens, 400);
  std::set<Digest> seen;
  for (std::int64_t n = 0; n <= 400; ++n) CHECK(seen.insert(prefix.digest(n)).second);
  for (std::size_t i = 0; i < 400; i += 13) {
    Tokens other = tokens;
    other[i] ^= 1;
    const kv::Prefix changed = chain(budget, other, 400);
    CHECK(changed.digest(static_cast<std::int64_t>(i)) ==
          prefix.digest(static_cast<std::int64_t>(i)));
    CHECK(seen.insert(changed.digest(400)).second);
  }
}

TEST_CASE("a prefix that was cut and regrown equals one that was not", "[kv]") {
  Budget budget;
  const Tokens tokens = make_tokens(500), wrong = make_tokens(200, 2);
  kv::Prefix prefix = chain(budget, tokens, 500);
  prefix.cut(250);
  prefix.append(wrong);
  prefix.cut(250);
  prefix.append(std::span(tokens).subspan(250));
  const kv::Prefix whole = chain(budget, tokens, 500), copy = prefix.copy();
  for (std::int64_t n = 0; n <= 500; n += 5) {
    REQUIRE(prefix.digest(n) == whole.digest(n));
    REQUIRE(copy.digest(n) == whole.digest(n));
  }
}
