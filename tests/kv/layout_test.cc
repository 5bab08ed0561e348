// Layout: the numbers of spec 4.2 and 4.3, and offsets that do not overlap.
#include "lib/kv/layout.h"

#include "lib/base/error.h"
#include "tests/kv/fake_forward.h"
#include "tests/support/catch.h"

using namespace v4i;

namespace {

kv::Layout v4_layout(int csa, int hca, int window_only) {
  kv::Layout layout;
  layout.window_row = {.dim = 512, .rope = 64, .form = RowForm::kFp8Rope16};
  layout.main_row = layout.window_row;
  layout.key = {.dim = 128, .packed = true};
  layout.window = 128;
  layout.rollback = 8;
  const kv::LayerLayout csa_layer{.ratio = 4,
                                  .partial_slots = 16,
                                  .partial_width = 2048,
                                  .index_width = 512,
                                  .index_keys = true};
  const kv::LayerLayout hca_layer{.ratio = 128, .partial_slots = 136, .partial_width = 1024};
  layout.layers.assign(csa, csa_layer);
  layout.layers.insert(layout.layers.end(), hca, hca_layer);
  layout.layers.resize(csa + hca + window_only);
  layout.finish();
  return layout;
}

}  // namespace

TEST_CASE("packed rows are 584 bytes and packed index keys 68, float rows 4 a channel", "[kv]") {
  CHECK(kv::RowFormat{.dim = 512, .rope = 64, .form = RowForm::kFp8Rope16}.bytes() == 584);
  CHECK(kv::KeyFormat{.dim = 128, .packed = true}.bytes() == 68);
  CHECK(kv::RowFormat{.dim = 512, .rope = 64}.bytes() == 2048);
  CHECK(kv::KeyFormat{.dim = 128}.bytes() == 512);
}

TEST_CASE("a V4-Flash token costs 3514.25 bytes and a V4-Pro token 5031.4", "[kv]") {
  CHECK(v4_layout(21, 20, 2).bytes_per_token() == Approx(3514.25).epsilon(1e-12));
  CHECK(v4_layout(30, 31, 0).bytes_per_token() == Approx(5031.4375).epsilon(1e-12));
}

TEST_CASE("windows and partial states are aligned and do not overlap", "[kv]") {
  const kv::Layout layout = v4_layout(3, 3, 2);
  std::size_t at = 0;
  for (const kv::LayerLayout& l : layout.layers) {
    CHECK(l.window_offset % 64 == 0);
    CHECK(l.partial_offset % 64 == 0);
    CHECK(l.window_offset >= at);
    CHECK(l.partial_offset >= l.window_offset + layout.window_slots * layout.window_row.bytes());
    at = l.partial_offset + l.partial_slots * l.partial_floats() * sizeof(float);
  }
  CHECK(layout.window_slots == 136);
  CHECK(layout.fixed_bytes >= at);
  CHECK(layout.fixed_bytes < at + 64);
}

TEST_CASE("bytes() counts whole blocks", "[kv]") {
  const kv::Layout layout = v4_layout(1, 1, 0);
  CHECK(layout.bytes(0) == layout.fixed_bytes);
  CHECK(layout.bytes(3) == layout.fixed_bytes);
  CHECK(layout.bytes(4) == layout.fixed_bytes + 64 * (584 + 68));
  CHECK(layout.bytes(256) == layout.fixed_bytes + 64 * (584 + 68) + 64 * 584);
  CHECK(layout.bytes(260) == layout.fixed_bytes + 2 * 64 * (584 + 68) + 64 * 584);
}

TEST_CASE("a layout with numbers out of range is refused by name", "[kv]") {
  const auto refused = [](auto change) {
    kv::Layout layout = v4_layout(1, 1, 1);
    change(layout);
    try {
      layout.finish();
    } catch (const Error& e) {
      return e.code() == Code::kInvalid;
    }
    return false;
  };
  CHECK(refused([](kv::Layout& l) { l.window = 0; }));
  CHECK(refused([](kv::Layout& l) { l.window = 1 << 30; }));
  CHECK(refused([](kv::Layout& l) { l.rollback = -1; }));
  CHECK(refused([](kv::Layout& l) { l.rows_per_block = 0; }));
  CHECK(refused([](kv::Layout& l) { l.main_row.rope = l.main_row.dim + 1; }));
  CHECK(refused([](kv::Layout& l) { l.layers[0].ratio = -4; }));
  CHECK(refused([](kv::Layout& l) { l.layers[0].partial_slots = 3; }));
  CHECK(refused([](kv::Layout& l) { l.layers[0].partial_width = 1 << 24; }));
  CHECK(refused([](kv::Layout& l) { l.layers.clear(); }));
  CHECK(refused([](kv::Layout& l) { l.key.dim = 0; }));
  CHECK_FALSE(refused([](kv::Layout&) {}));
}

TEST_CASE("every number of a layout changes its digest", "[kv]") {
  const Digest digest = v4_layout(1, 1, 1).digest();
  const auto changed = [&](auto change) {
    kv::Layout layout = v4_layout(1, 1, 1);
    change(layout);
    return layout.digest() != digest;
  };
  CHECK(changed([](kv::Layout& l) { l.main_row.form = RowForm::kFloat32; }));
  CHECK(changed([](kv::Layout& l) { l.main_row.rope = 32; }));
  CHECK(changed([](kv::Layout& l) { l.key.dim = 64; }));
  CHECK(changed([](kv::Layout& l) { l.window = 64; }));
  CHECK(changed([](kv::Layout& l) { l.rollback = 9; }));
  CHECK(changed([](kv::Layout& l) { l.rows_per_block = 32; }));
  CHECK(changed([](kv::Layout& l) { l.layers[1].ratio = 64; }));
  CHECK(changed([](kv::Layout& l) { l.layers[0].index_width = 256; }));
  CHECK(changed([](kv::Layout& l) { l.layers.pop_back(); }));
  CHECK_FALSE(changed([](kv::Layout&) {}));
}
