// Hashes against published vectors.
#include "lib/base/hash.h"

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
