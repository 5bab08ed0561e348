// KV layouts of plans, V4.1's included: it is laid out though nothing runs it yet.
#include "lib/forward/layouts.h"

#include "lib/kv/state.h"
#include "tests/support/catch.h"
#include "tests/support/v41_config.h"

using namespace v4i;

TEST_CASE("V4.1 keeps 890 bytes a token, in the tables of four layers", "[forward]") {
  const model::Config c = model::parse_config(test::v41_config(), "config.json");
  const kv::Layout layout = forward::make_layout(c, model::make_plan(c), {});
  CHECK(layout.bytes_per_token() == 890);
  CHECK(layout.window_row.bytes() == 528);
  CHECK(layout.main_row.bytes() == 288);
  CHECK(layout.key.bytes() == 68);
  CHECK(layout.source(1, false) == 1);
  CHECK(layout.source(7, false) == 2);
  CHECK(layout.source(19, true) == 14);
  CHECK(layout.source(39, false) == 20);
  for (const std::size_t own : {2u, 8u, 14u}) CHECK(layout.layers[own].partial_width == 2 * 512);
  CHECK(layout.layers[20].partial_width == 0);  // ratio 1: a row is one token
}

TEST_CASE("a draft state has a window for each stage", "[forward]") {
  const model::Config c = model::parse_config(test::v41_config(), "config.json");
  const kv::Layout layout = forward::make_draft_layout(c, model::make_plan(c), {});
  CHECK(layout.layers.size() == 3);
  CHECK(layout.fixed_bytes == 3 * (128 + forward::kRollback) * 528);
  CHECK(layout.bytes_per_token() == 0);
}

TEST_CASE("a layer reads the rows of the layer that owns them", "[forward]") {
  model::Config c = model::parse_config(test::v41_config(), "config.json");
  forward::Options options;
  options.rows_per_block = 2;
  const auto layout =
      std::make_shared<const kv::Layout>(forward::make_layout(c, model::make_plan(c), options));
  Budget budget;
  store::BlockCache cache(budget);
  kv::State state(layout, cache, Digest{});
  const std::vector<std::int32_t> ids(100, 7);
  state.begin(ids);
  for (std::int64_t r = 0; r < 50; ++r)
    *state.new_row(8, kv::RowKind::kMain, r) = static_cast<std::byte>(r + 1);
  state.commit();  // 42 of the 50 rows lie in sealed blocks now
  kv::State* const one = &state;
  const kv::Lease lease({&one, 1}, 13, nullptr);
  for (std::int64_t r = 0; r < 50; ++r)
    REQUIRE(*state.row(13, kv::RowKind::kMain, r) == static_cast<std::byte>(r + 1));
  CHECK_THROWS_AS(state.new_row(13, kv::RowKind::kMain, 0), Error);  // it has none of its own
}
