// What a build without SQLite says of the disk tier.
#include "lib/store/disk_store.h"
#include "tests/support/catch.h"
#include "tests/support/refusal.h"

using namespace v4i;
using namespace v4i::test;

TEST_CASE("a build without SQLite has no disk tier and says so", "[store][disk]") {
  Budget budget;
  const auto open = [&] {
    store::open_disk_store({"/nowhere"}, budget, std::make_shared<store::ReadQueue>());
  };
  CHECK(refusal(open) ==
        "/nowhere: this build has no disk tier: SQLite was not there when it was made");
}
