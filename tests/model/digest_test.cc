// The digest of a V4 model names its saved sessions and KV blocks, so it never changes.
#include "lib/model/digest.h"

#include "lib/model/model.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"
#include "tests/support/v4_layout.h"

using namespace v4i;
using namespace v4i::model;

static std::string digest_of_zeros(const test::V4Shape& shape) {
  const test::TempDir d;
  test::write_sparse_checkpoint(d.path(), shape);
  return to_hex(Model::open(d.path())->digest());
}

TEST_CASE("three fixed V4 checkpoints keep the digests that they had before V4.1",
          "[model][digest]") {
  test::V4Shape dspark = test::odd_shape();
  dspark.mtp = 0;
  dspark.dspark = 2;
  CHECK(digest_of_zeros(test::odd_shape()) ==
        "4411312ffb0f8e2f137ebfc3732495d87a2f2967d306179b6845e5bac07e88b8");
  CHECK(digest_of_zeros(dspark) ==
        "c62dccd4f8c87bf5a7cdd96dcf6bb5776bfc5fdfaf020f900c6e47bf56117ce6");
  CHECK(digest_of_zeros(test::v4_flash()) ==
        "9747f3733d9ee79ef3acdfc859c6517c20fc2c8c569f1035dfbe8c1dfb424494");
}
